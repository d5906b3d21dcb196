"""How requirements are written: as pip, a pyproject.toml and conda have them."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

from remote_kernels.import_names import CONDA
from remote_kernels.local_environment import Environment
from remote_kernels.requirements import Requirements, Wanted

#: In which requirements can be written.
FORMATS = ("requirements", "pyproject", "conda")


def written(found: Requirements, form: str, name: str, environment: Environment) -> str:
    """The text of a file.

    Args:
        found: the requirements.
        form: one of FORMATS.
        name: of the project, or of the environment.
        environment: on this machine.
    """
    if form == "pyproject":
        return as_pyproject(found, name)
    return as_conda(found, name, environment) if form == "conda" else as_requirements(found)


def as_requirements(found: Requirements) -> str:
    """The text of a requirements.txt."""
    lines = [f"{option} {value}" for option, value in found.indexes]
    lines += [wanted.line for wanted in found.wanted] + found.urls
    return "".join(f"{line}\n" for line in lines)


def as_pyproject(found: Requirements, name: str) -> str:
    """The text of a pyproject.toml; what has no name cannot stand in it.

    Args:
        found: the requirements.
        name: of the project.
    """
    # A string of JSON is one of TOML.
    lines = [f"    {json.dumps(wanted.line, ensure_ascii=False)}," for wanted in found.wanted]
    return "\n".join(
        [
            *("[project]", f'name = "{project_name(name)}"', 'version = "0"'),
            *("dependencies = [", *lines, "]", ""),
        ]
    )


def as_conda(found: Requirements, name: str, environment: Environment) -> str:
    """The text of an environment.yml.

    Extras and addresses, which conda does not know, and what pip has installed into an environment
    of conda's, are left to pip there.

    Args:
        found: the requirements.
        name: of the environment.
        environment: on this machine.
    """
    for_conda, for_pip = [], list(found.urls)
    channels = list(found.channels)
    for wanted in found.wanted:
        by_pip = bool(environment.conda) and wanted.conda is None and bool(wanted.version)
        if wanted.url or wanted.extras or wanted.marker or by_pip:
            for_pip.append(wanted.line)
        else:
            for_conda.append(conda_spec(wanted))
            channels += filter(None, [channel_of(wanted)])
    python = ".".join(environment.version.split(".")[:2])
    lines = [f"name: {project_name(name)}", "channels:"]
    lines += [f"  - {_yaml(each)}" for each in dict.fromkeys(channels or ["conda-forge"])]
    lines += ["dependencies:", f"  - python={python}", *(f"  - {_yaml(x)}" for x in for_conda)]
    if for_pip:
        lines += ["  - pip", "  - pip:", *(f"      - {_yaml(x)}" for x in for_pip)]
    return "".join(f"{line}\n" for line in lines)


def conda_name(wanted: Wanted) -> str:
    """The name of a distribution's package of conda's."""
    return wanted.conda["name"] if wanted.conda else CONDA.get(wanted.key, wanted.name.lower())


def conda_spec(wanted: Wanted) -> str:
    """A distribution as conda is asked for it."""
    name = conda_name(wanted)
    versions = f"=={wanted.conda['version']}" if wanted.conda else wanted.versions
    # What it writes itself; two signs would be the same.
    if re.fullmatch(r"==[^,*]+", versions):
        versions = versions[1:]
    return f"{name}{versions.replace(' ', '')}"


def channel_of(wanted: Wanted) -> str:
    """The channel of a package that conda has installed; empty if it is not known."""
    if not wanted.conda or not wanted.conda["channel"]:
        return ""
    address = urlsplit(wanted.conda["channel"])
    parts = [part for part in address.path.split("/") if part]
    if "pkgs" in parts:
        return "defaults"
    if parts[:1] == ["t"]:
        # What follows is a secret.
        parts = parts[2:]
    if address.hostname in (None, "conda.anaconda.org"):
        return parts[0] if parts else ""
    # The last part is the platform.
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}/{'/'.join(parts[:-1])}"


def _yaml(text: str) -> str:
    """A text as YAML takes it."""
    return text if re.fullmatch(r"[A-Za-z0-9][\w.=<>!~,/-]*", text) else json.dumps(text)


def project_name(text: str) -> str:
    """A text as a name that project and environment may have."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("._-")
    return name.lower() or "notebooks"
