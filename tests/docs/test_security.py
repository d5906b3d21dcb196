"""Each sentence of SECURITY.md is held to by a test, or says something that no test can."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

NOT_TESTED = "no test can"

# The beginning of each item, and the tests that hold the program to it.
HELD = {
    "Nothing runs with other rights": ["sshd/test_trust.py::test_who_runs_what"],
    "On this machine each kernel has": ["sshd/test_trust.py::test_who_runs_what"],
    "On the far side nothing is installed": [
        "sshd/test_trust.py::test_who_runs_what",
        "sshd/test_trust.py::test_what_is_written_while_a_kernel_runs",
    ],
    "Without Python over there": ["sshd/test_no_python.py"],
    "`remote-kernels deps` runs nothing": ["unit/test_deps.py::test_nothing_that_is_read_is_run"],
    "What `remote-kernels mirror` has": [
        "unit/test_mirror.py::test_a_host_that_lies",
        "unit/test_mirror.py::test_what_others_can_have_and_what_not",
    ],
    "With a scheduler": ["cluster/test_slurm.py", "cluster/test_ends.py"],
    "A launcher that is killed takes": ["sshd/test_resume.py"],
    "`remote-kernels lab` leaves": [
        "sshd/test_lab.py::test_from_the_start_to_the_end",
        "sshd/test_lab.py::test_ways_to_leave_it",
    ],
    "`remote-kernels lab` listens": [
        "sshd/test_lab.py::test_from_the_start_to_the_end",
        "sshd/test_lab.py::test_a_notebook_on_a_unix_socket",
    ],
    "The token of a server": ["sshd/test_lab.py::test_the_token_is_nobodys"],
    "What a host tells `lab`": ["unit/test_lab.py::test_where_the_browser_goes"],
    "`remote-kernels login` leaves": ["sshd/test_trust.py::test_what_a_login_leaves_behind"],
    "`remote-kernels reverse --service` leaves": [
        "sshd/test_reverse.py::test_a_service_holds_it_after_boot"
    ],
    "`remote-kernels reverse` lets a port": [
        "sshd/test_reverse.py::test_a_kernel_on_the_machine_that_nobody_reaches",
        "sshd/test_reverse.py::test_what_the_server_does_not_do",
    ],
    "`remote-kernels copy-id` adds": [
        "sshd/test_copy_id.py::test_a_key_is_given_once",
        "sshd/test_copy_id.py::test_no_key_yet",
    ],
    "`remote-kernels reverse` notes": [
        "sshd/test_reverse.py::test_a_kernel_on_the_machine_that_nobody_reaches",
        "unit/test_reverse.py::test_a_note_is_private_and_whole",
    ],
    "On this machine the launcher listens": ["sshd/test_trust.py::test_what_is_opened"],
    "To the network": ["sshd/test_trust.py::test_what_is_opened"],
    "On the far side kernels that can": ["sshd/test_trust.py::test_what_is_opened"],
    "Other kernels listen": ["sshd/test_trust.py::test_a_port_gives_no_answer_without_the_key"],
    "Nothing listens": ["sshd/test_trust.py::test_what_is_opened"],
    "On this machine: kernelspecs": [
        "sshd/test_trust.py::test_what_is_written_while_a_kernel_runs",
    ],
    "The connections of a host": ["sshd/test_trust.py::test_what_is_written_while_a_kernel_runs"],
    "`sync` writes": [
        "sshd/test_sync.py::test_a_large_file_goes_on_where_it_was_cut",
        "unit/test_sync.py::test_what_is_agreed_is_for_the_user_alone",
    ],
    "What a host tells `sync`": [
        "unit/test_sync.py::test_a_far_side_that_lies_about_names",
        "unit/test_sync.py::test_nothing_is_written_through_a_link",
    ],
    "On the far side: a copy": [
        "sshd/test_private.py::test_the_kernel_listens_where_nobody_else_can_go",
        "sshd/test_trust.py::test_what_is_written_while_a_kernel_runs",
    ],
    "Jupyter's key is in no": [
        "sshd/test_private.py::test_no_secret_is_seen_in_proc",
        "sshd/test_trust.py::test_the_key_is_nowhere_on_this_side",
    ],
    "The values of `--env`": ["sshd/test_environments.py::test_an_environment_is_activated"],
    "What a host tells `discover`": ["unit/test_discovery.py::test_a_host_that_lies"],
    "With `--keep` a kernel": ["sshd/test_keep.py::test_the_way_back"],
    "`remote-kernels attach` listens": [
        "sshd/test_attach.py::test_the_newest_kernel_and_two_front_ends",
        "sshd/test_attach.py::test_an_encrypted_kernel",
    ],
    "`attach` writes a connection file": [
        "sshd/test_attach.py::test_the_newest_kernel_and_two_front_ends",
    ],
    "What you answer": ["sshd/test_trust.py::test_an_answer_is_stored_nowhere"],
    "Nothing gets into the history": ["sshd/test_trust.py::test_no_history"],
    "No file is written through a link": [
        "unit/test_private_directory.py::test_a_directory_of_somebody_else_is_not_used",
        "sshd/test_trust.py::test_a_link_in_the_place_of_the_connection_file",
    ],
    "What a launcher could not remove": [
        "sshd/test_failures.py::test_a_launcher_killed_while_starting_leaves_no_kernel",
        "sshd/test_refused.py::test_old_refusals_are_removed",
    ],
    "They see that": ["sshd/test_private.py::test_no_secret_is_seen_in_proc"],
    "They cannot read the connection file": [
        "sshd/test_private.py::test_another_user_reaches_nothing"
    ],
    "They cannot use the connection": ["sshd/test_trust.py::test_what_a_login_leaves_behind"],
    "They can connect to a port": [
        "sshd/test_trust.py::test_a_port_gives_no_answer_without_the_key"
    ],
    "Whoever administers": [NOT_TESTED],
    "Host keys are checked": [
        "sshd/test_failures.py::test_a_changed_host_key",
        "sshd/test_failures.py::test_a_new_host_key_is_taken_and_kept",
    ],
    "Only ssh can ask you": [
        "sshd/test_questions.py::test_what_only_looks_like_a_question_is_none"
    ],
    "A login that was refused": [
        "sshd/test_refused.py::test_what_jupyter_starts_again_does_not_log_in_again",
        "sshd/test_resume.py::test_a_login_that_is_refused_is_not_tried_again",
    ],
    "The far side is not trusted": ["sshd/test_hostile_far_side.py"],
    "A far side that does not keep": ["sshd/test_hostile_far_side.py"],
    "A kernel can do over there": [NOT_TESTED],
    "What you type": ["unit/test_hostile_texts.py", "sshd/test_hostile_texts.py"],
    "A kernelspec runs": [NOT_TESTED],
    "A launcher takes no module": [
        "unit/test_start.py::test_no_module_is_taken_from_the_notebooks_directory"
    ],
}


def items() -> list[str]:
    """The sentences that stand as items of lists."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    found = re.findall(r"^- (.*?)(?=^- |^#|\Z)", text, re.MULTILINE | re.DOTALL)
    return [" ".join(item.split()) for item in found]


@pytest.mark.parametrize("item", items(), ids=lambda item: item[:40])
def test_each_sentence_has_its_tests(item: str) -> None:
    (tests,) = [tests for beginning, tests in HELD.items() if item.startswith(beginning)]
    for test in tests:
        if test == NOT_TESTED:
            continue
        file, _, name = test.partition("::")
        tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
        names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        assert name in names if name else any(x.startswith("test_") for x in names)


def test_no_more_is_held_than_is_said() -> None:
    said = items()
    assert [x for x in HELD if not any(item.startswith(x) for item in said)] == []
