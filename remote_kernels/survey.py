"""Looks on the far side for all kernels that could run there.

It reads the kernelspecs where Jupyter looks for them, asks every Jupyter for those that it knows
beside, and looks for environments that hold a kernel without any. Programs are asked side by side,
and one that does not answer is left. The far side runs this file: Python 3.6, the standard library
alone.
"""

import base64
import glob
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain

from remote_kernels.answers import CannotAnswer
from remote_kernels.login_environment import login_environment, output_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    Spec = dict[str, Any]

_AT_ONCE = 8
# A logo, and what a kernel.json may have, in bytes.
_LARGEST_FILE = 1 << 20
# Of those, and other things that a directory may have without end.
_MOST = 2000

_HOME = os.path.expanduser("~")
_ENDS_PROBE = "@rk-probe "
# How IJulia is started from 1.28 on, and what its kernel.jl has since then.
_RUN_IJULIA, _RUN_IJULIA_BY = "import IJulia; IJulia.run_kernel()", "function run_kernel"
# R makes a library of the person's own, and asks for a mirror, only where it can ask.
_INSTALL_IRKERNEL = (
    'own <- strsplit(Sys.getenv("R_LIBS_USER"), ":")[[1]][1]; dir.create(own, FALSE, TRUE); '
    'from <- getOption("repos"); from[from == "@CRAN@"] <- "https://cloud.r-project.org"; '
    'install.packages("IRkernel", lib = own, repos = from); '
    'quit(status = !requireNamespace("IRkernel", lib.loc = own, quietly = TRUE))'
)

# Where conda, mamba and micromamba are put by their installers.
_CONDA_ROOTS = (
    *("~/miniconda3", "~/anaconda3", "~/miniforge3", "~/mambaforge", "~/micromamba", "~/conda"),
    *("~/.local/share/mamba", "~/.local/share/micromamba", "/opt/conda", "/opt/miniconda3"),
    *("/opt/anaconda3", "/opt/miniforge3"),
)
# Directories of virtualenvs: virtualenvwrapper's, those of many people, pipenv's, poetry's.
_VENV_DIRECTORIES = (
    *("~/.virtualenvs", "~/Virtualenvs", "~/virtualenvs", "~/venvs", "~/.venvs"),
    *("~/.local/share/virtualenvs", "~/.cache/pypoetry/virtualenvs"),
    "~/Library/Caches/pypoetry/virtualenvs",
)
# Of programs that are installed for a person (pipx, uv); few of them have to do with kernels.
_TOOL_DIRECTORIES = (
    "~/.local/share/pipx/venvs",
    "~/.local/pipx/venvs",
    "~/.local/share/uv/tools",
)
# What lets a Jupyter know kernelspecs beside those in the usual places, below its settings.
_SETTINGS = ("jupyter_config.py", "jupyter_config.json", "jupyter_kernelspec_config.*")

# Any Python from 2.7 on runs this.
_PROBE = """
import json, os, sys
try:
    from importlib.util import find_spec as find
except ImportError:
    from pkgutil import find_loader as find
try:
    import sysconfig
    closed = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
except Exception:
    closed = ""
base = getattr(sys, "base_prefix", sys.prefix)
def has(name):
    try:
        return find(name) is not None
    except Exception:
        return False
found = {
    "prefix": sys.prefix,
    "version": "%d.%d.%d" % sys.version_info[:3],
    "has": [name for name in sys.argv[1:] if has(name)],
    "closed": base == sys.prefix and os.path.exists(closed),
}
sys.stdout.write("@rk-probe " + json.dumps(found))
"""


# What "jupyter kernelspec list" looks up; the command itself would make directories in the home.
_KERNELSPECS = """
import json
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_core.application import JupyterApp
app = JupyterApp()
app.name = "jupyter-kernelspec"
app.load_config_file()
manager = KernelSpecManager(parent=app, ensure_native_kernel=False)
print("@rk-probe " + json.dumps(manager.get_all_specs()))
"""


class Environment:
    """A directory with a Python, an R or a Julia in it.

    Attributes:
        prefix: the directory.
        kind: conda, venv, pyenv, uv or system.
        name: by which people know it.
        is_activated: programs in it expect to find it activated.
    """

    def __init__(self, prefix: str, kind: str, name: str = "") -> None:
        self.prefix = prefix
        self.kind = kind
        own = os.path.basename(prefix)
        # The one of a project has a name that tells nothing.
        self.name = name or (os.path.basename(os.path.dirname(prefix)) if own == ".venv" else own)
        self.is_activated = kind in ("conda", "venv")

    @property
    def python(self) -> str:
        """Its Python; empty if it has none."""
        return _program(os.path.join(self.prefix, "bin", "python"))


class Survey:
    """One look around.

    Attributes:
        notes: what could not be looked at: a path, and why.
    """

    def __init__(self, look_in: "Sequence[str]") -> None:
        """Look around.

        Args:
            look_in: directories of projects, whose environments are looked for as well.
        """
        self.notes: list[tuple[str, str]] = []
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        env = self._pool.submit(login_environment)
        self._environments: dict[str, Environment] = {}
        self._add(self._find_environments(look_in))
        self.env = env.result()
        self._path = _path(self.env)
        self._add_environments_of_login()
        self._specs = list(self._find_specs())
        self._pythons: dict[str, Future[Spec | None]] = {}
        self._wanted: set[str] = set()

    def kernels(self) -> "Iterator[Spec]":
        """All kernels, each as a dictionary; kernelspecs first."""
        jupyters = [self._pool.submit(self._ask_jupyter, path) for path in self._jupyters()]
        self._ask_pythons()
        known = {os.path.realpath(spec["path"]) for spec in self._specs}
        for jupyter in jupyters:
            for spec in jupyter.result():
                real = os.path.realpath(spec["path"])
                if real not in known:
                    known.add(real)
                    self._specs.append(spec)
        self._ask_pythons()
        served = set()
        for spec in self._specs:
            kernel = self._of_spec(spec)
            if kernel is not None:
                served.add(kernel["program"])
                yield kernel
        yield from self._without_spec(served)

    # --- environments ---------------------------------------------------------------------------

    def _list(self, directory: str) -> "list[str]":
        """The paths in a directory, as far as it may be looked at."""
        try:
            names = sorted(os.listdir(directory))[:_MOST]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            note = (directory, error.strerror or str(error))
            if note not in self.notes:
                self.notes.append(note)
            return []
        return [os.path.join(directory, name) for name in names]

    def _find_environments(self, look_in: "Sequence[str]") -> "Iterator[Environment]":
        for prefix in self._conda_prefixes():
            if os.path.isdir(os.path.join(prefix, "conda-meta")):
                is_root = os.path.isdir(os.path.join(prefix, "condabin"))
                yield Environment(prefix, "conda", "base" if is_root else "")
        for directory in _VENV_DIRECTORIES:
            for prefix in self._list(os.path.expanduser(directory)):
                yield from _venv(prefix)
        for directory in _TOOL_DIRECTORIES:
            for prefix in self._list(os.path.expanduser(directory)):
                if _jupyter_of(prefix) or os.path.isdir(f"{prefix}/share/jupyter/kernels"):
                    yield from _venv(prefix)
        for directory in (os.path.abspath(os.path.expanduser(x)) for x in look_in):
            if not os.path.isdir(directory):
                self.notes.append((directory, "no such directory"))
            for place in [directory, *self._list(directory)]:
                for prefix in [place, *(os.path.join(place, n) for n in (".venv", "venv", "env"))]:
                    yield from _venv(prefix)
                for prefix in self._list(os.path.join(place, ".pixi", "envs")):
                    yield Environment(prefix, "conda", "")
        pyenv = os.environ.get("PYENV_ROOT") or os.path.join(_HOME, ".pyenv")
        for prefix in self._list(os.path.join(pyenv, "versions")):
            # Links are shorter names of versions, but also pyenv-virtualenv's environments.
            if not os.path.islink(prefix) or is_venv(prefix):
                name = f"pyenv-{os.path.basename(prefix)}"
                yield Environment(prefix, "venv" if is_venv(prefix) else "pyenv", name)
        uv = os.environ.get("UV_PYTHON_INSTALL_DIR") or os.path.join(
            _HOME, ".local/share/uv/python"
        )
        for prefix in self._list(uv):
            if not os.path.islink(prefix):
                yield Environment(prefix, "uv")

    def _conda_prefixes(self) -> "Iterator[str]":
        roots = [os.path.expanduser(root) for root in _CONDA_ROOTS]
        known = [os.environ.get(x) for x in ("CONDA_PREFIX", "CONDA_ROOT", "MAMBA_ROOT_PREFIX")]
        known.append(os.path.dirname(os.path.dirname(os.environ.get("CONDA_EXE", ""))))
        known += map(os.path.dirname, _path(os.environ))
        for prefix in filter(None, known):
            roots.append(prefix)
            if os.path.basename(os.path.dirname(prefix)) == "envs":
                roots.append(os.path.dirname(os.path.dirname(prefix)))
        for root in dict.fromkeys(roots):
            yield root
            yield from self._list(os.path.join(root, "envs"))
        yield from self._list(os.path.join(_HOME, ".conda/envs"))
        try:
            # Every conda notes here what it has made.
            with open(os.path.join(_HOME, ".conda/environments.txt"), encoding="utf-8") as file:
                yield from [line.strip() for line in file if line.startswith("/")][:_MOST]
        except (OSError, ValueError):
            pass

    def _add_environments_of_login(self) -> None:
        """Add those that only the login shell knows of, as by "conda init"."""
        before = os.environ.copy()
        os.environ.update(self.env)
        try:
            self._add([*self._find_environments(()), *self._environments_of_path()])
        finally:
            os.environ.clear()
            os.environ.update(before)

    def _environments_of_path(self) -> "Iterator[Environment]":
        """Virtualenvs that the login shell has activated, wherever they lie."""
        for prefix in filter(None, map(os.path.dirname, self._path)):
            if not os.path.isdir(os.path.join(prefix, "conda-meta")):
                yield from _venv(prefix)

    def _add(self, environments: "Iterable[Environment]") -> None:
        """Add those that are not known yet, by another path perhaps."""
        for environment in environments:
            self._environments.setdefault(os.path.realpath(environment.prefix), environment)

    def _at(self, prefix: str) -> "Environment | None":
        return self._environments.get(os.path.realpath(prefix))

    def _of(self, path: str) -> "Environment | None":
        """The environment in which a program lies."""
        # IRkernel names the R that the script in bin would run.
        path = re.sub("/lib/R/bin/R$", "/bin/R", path)
        return self._at(os.path.dirname(os.path.dirname(path)))

    @property
    def _prefixes(self) -> "list[str]":
        return [environment.prefix for environment in self._environments.values()]

    # --- kernelspecs ----------------------------------------------------------------------------

    def _spec_directories(self) -> "Iterator[str]":
        """Where kernelspecs lie, by the rules of jupyter_core."""
        env = self.env
        yield from (os.path.join(x, "kernels") for x in env.get("JUPYTER_PATH", "").split(":") if x)
        data = os.path.join(
            env.get("XDG_DATA_HOME") or os.path.join(_HOME, ".local/share"), "jupyter"
        )
        for user in (env.get("JUPYTER_DATA_DIR"), data, os.path.join(_HOME, "Library/Jupyter")):
            if user:
                yield os.path.join(user, "kernels")
        yield os.path.join(_HOME, ".ipython/kernels")
        for prefix in [*self._prefixes, sys.prefix, "/usr/local", "/usr", "/opt/homebrew"]:
            yield os.path.join(prefix, "share/jupyter/kernels")

    def _find_specs(self) -> "Iterator[Spec]":
        seen = set()
        for parent in self._spec_directories():
            for directory in self._list(parent):
                file = os.path.join(directory, "kernel.json")
                real = os.path.realpath(directory)
                if os.path.isfile(file) and real not in seen:
                    seen.add(real)
                    yield _read_spec(directory, file)

    def _jupyters(self) -> "list[str]":
        """One of the commands of each installation that may know more than is found without it.

        A Jupyter that is not set up to look elsewhere finds what lies in the usual places. Each
        environment with ipykernel has one, and takes half a second of a processor to say so.
        """
        prefixes = [prefix for prefix in self._prefixes if _has_settings(prefix)]
        places = [*self._path, *(os.path.join(prefix, "bin") for prefix in prefixes)]
        found = [_program(os.path.join(place, "jupyter-kernelspec")) for place in places]
        # Those of pyenv's own versions are among them anyway.
        found = [path for path in found if path and not _is_shim(path)]
        if not found:
            # A person's settings are any Jupyter's.
            found = list(filter(None, map(_jupyter_of, self._prefixes)))[:1]
        return list({os.path.realpath(path): path for path in reversed(found)}.values())

    def _ask_jupyter(self, path: str) -> "list[Spec]":
        """The kernelspecs that one Jupyter knows."""
        said = output_of([interpreter_of(path), "-c", _KERNELSPECS], self.env) or ""
        try:
            known = json.loads(said.rpartition(_ENDS_PROBE)[2])
            specs = [
                _spec(name, os.path.join(entry["resource_dir"]), partial(entry.__getitem__, "spec"))
                for name, entry in known.items()
            ]
        except (ValueError, LookupError, TypeError, AttributeError):
            self.notes.append((path, "does not list its kernelspecs"))
            return []
        return specs

    def _of_spec(self, spec: "Spec") -> "Spec | None":
        """The kernel of a kernelspec; None if it would run somewhere else."""
        document = spec["document"]
        kernel = _kernel(spec["name"], "kernelspec", spec["path"])
        if document is None:
            return {**kernel, "problem": spec["problem"]}
        argv = list(document["argv"])
        if _module(argv) in ("remote_kernels", "remote_ikernel"):
            return None
        owner = self._at(os.path.abspath(spec["path"]).split("/share/jupyter/")[0])
        argv = [word.replace("{resource_dir}", spec["path"]) for word in argv]
        argv[0] = self._resolved(argv[0], owner, spec["path"])
        environment = self._of(argv[0]) or owner
        kernel.update(
            argv=argv,
            program=argv[0],
            language=document.get("language"),
            display_name=document.get("display_name"),
            env={str(n): str(v) for n, v in (document.get("env") or {}).items()},
            interrupt_mode=document.get("interrupt_mode"),
            metadata=document.get("metadata") or {},
            files=spec["path"],
        )
        if environment is not None:
            kernel["environment"] = environment.kind
            kernel.update(self._activated(environment, kernel["env"]))
            if environment is owner and spec["name"] in ("python3", "python2"):
                kernel.update(name=environment.name, path=environment.prefix, kind=environment.kind)
        return self._judged(kernel)

    def _resolved(self, program: str, owner: "Environment | None", spec: str) -> str:
        """A kernelspec's program by its whole path; as it stands if there is none."""
        if os.path.basename(program) != program:
            return os.path.expanduser(program)
        places = [os.path.join(owner.prefix, "bin")] if owner is not None else []
        # "pip install --user" puts both below one directory.
        beside, known, _ = spec.partition("/share/jupyter/")
        places += [os.path.join(beside, "bin")] if known else []
        path = os.pathsep.join([*places, *self._path])
        # Jupyter takes either for its own Python.
        names = {"python": ("python", "python3"), "python3": ("python3", "python")}
        found = (shutil.which(name, path=path) for name in names.get(program, (program,)))
        return next(filter(None, found), program)

    def _activated(
        self, environment: Environment, env: "Mapping[str, str] | None" = None
    ) -> "Spec":
        """What an activation is for a kernel, and the variables that it brings."""
        if not environment.is_activated:
            return {}
        own: dict[str, str] = {}
        prefix = environment.prefix
        for path in sorted(glob.glob(f"{glob.escape(prefix)}/etc/conda/env_vars.d/*.json")):
            own.update(_variables(path))
        # What "conda env config vars set" has noted, and "unset" has taken back.
        own.update(_variables(f"{prefix}/conda-meta/state", "env_vars"))
        own = {name: value for name, value in own.items() if value != "***unset***"}
        return {"activate": prefix, "env": {**own, **(env or {})}}

    # --- kernels without a kernelspec -----------------------------------------------------------

    def _without_spec(self, served: "set[str]") -> "Iterator[Spec]":
        # "python3" of an environment is its "python".
        known = {(os.path.dirname(path), os.path.realpath(path)) for path in served}
        for environment in self._environments.values():
            python = environment.python
            if python and (os.path.dirname(python), os.path.realpath(python)) not in known:
                served.add(environment.python)
                kernel = _kernel(environment.name, environment.kind, environment.prefix)
                kernel.update(self._activated(environment))
                yield self._of_python(kernel, environment.python)
        installed = set(map(self._installation, served))
        for python in self._system_pythons():
            if self._installation(python) not in installed:
                installed.add(self._installation(python))
                yield self._of_python(_kernel(os.path.basename(python), "system", python), python)
        real = set(map(os.path.realpath, served))
        yield from self._of_r(real)
        yield from self._of_julia(real)

    def _installation(self, python: str) -> "tuple[str, str]":
        """What tells one Python from another; a virtualenv's is a link to another one's."""
        probe = self._pythons[python].result() if python in self._pythons else None
        return (probe["prefix"], probe["version"]) if probe is not None else (python, "")

    def _of_python(self, kernel: "Spec", python: str) -> "Spec":
        argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        metadata = {"debugger": True}
        kernel.update(argv=argv, program=python, language="python", metadata=metadata)
        return self._judged(kernel)

    def _system_pythons(self) -> "list[str]":
        """Those of the PATH that belong to no environment, the plain name first."""
        found = []
        for place in dict.fromkeys(self._path):
            if self._at(os.path.dirname(place)) is not None:
                continue
            for name in ["python3", *(f"python3.{minor}" for minor in range(6, 30))]:
                path = _program(os.path.join(place, name))
                if path and not _is_shim(path):
                    found.append(path)
        return found

    def _of_r(self, served: "set[str]") -> "Iterator[Spec]":
        for program in self._programs("R"):
            if os.path.realpath(program) not in served:
                words = ["--slave", "-e", "IRkernel::main()", "--args", "{connection_file}"]
                yield self._of_language("R", [program, *words])

    def _of_julia(self, served: "set[str]") -> "Iterator[Spec]":
        depot = self._julia_depots[0]
        files = glob.glob(f"{depot}/packages/IJulia/*/src/kernel.jl")
        newest = max(files, key=os.path.getmtime) if files else f"{depot}/packages/IJulia"
        for program in self._programs("julia"):
            if os.path.realpath(program) not in served:
                # From 1.28 on IJulia's file is no program any more.
                run = ["-e", _RUN_IJULIA] if _RUN_IJULIA_BY in _start_of(newest) else [newest]
                words = ["-i", "--color=yes", "--project=@.", *run, "{connection_file}"]
                yield self._of_language("julia", [program, *words])

    @property
    def _julia_depots(self) -> "list[str]":
        """Where Julia looks for packages; the first is the person's own."""
        return [x or f"{_HOME}/.julia" for x in self.env.get("JULIA_DEPOT_PATH", "").split(":")]

    def _of_language(self, language: str, argv: "list[str]") -> "Spec":
        environment = self._of(argv[0])
        kernel = _kernel(language, "system", argv[0])
        if environment is not None:
            kernel.update(name=f"{environment.name}/{language}", kind=environment.kind)
            kernel.update(self._activated(environment))
        kernel.update(argv=argv, program=argv[0], language=language)
        return self._judged(kernel)

    def _programs(self, name: str) -> "list[str]":
        """All programs of that name, each once."""
        places = [*self._path, *(os.path.join(prefix, "bin") for prefix in self._prefixes)]
        found = [_program(os.path.join(place, name)) for place in dict.fromkeys(places)]
        return list({os.path.realpath(path): path for path in reversed(found) if path}.values())

    # --- whether they would start ---------------------------------------------------------------

    def _ask_pythons(self) -> None:
        """Ask every Python that may be needed which modules it has; answers come later."""
        wanted = {"ipykernel", "pip"}
        pythons = [e.python for e in self._environments.values() if e.python]
        pythons += self._system_pythons()
        for spec in self._specs:
            argv = (spec["document"] or {}).get("argv") or [""]
            if _module(argv):
                wanted.add(_module(argv))
            owner = self._at(os.path.abspath(spec["path"]).split("/share/jupyter/")[0])
            pythons.append(self._resolved(argv[0], owner, spec["path"]))
        if not wanted <= self._wanted:
            # Kernelspecs that a Jupyter knows may need modules that nobody has asked for.
            self._pythons.clear()
            self._wanted |= wanted
        for python in dict.fromkeys(pythons):
            name = os.path.basename(python)
            if name.startswith(("python", "pypy")) and python not in self._pythons:
                command = [python, "-c", _PROBE, *sorted(wanted)]
                environment, env = self._of(python), dict(self.env)
                if environment is not None and environment.is_activated:
                    env.pop("PYTHONHOME", None)
                self._pythons[python] = self._pool.submit(_probed, command, env)

    def _judged(self, kernel: "Spec") -> "Spec":
        """Say of a kernel whether it would start, and else what would help."""
        argv = kernel["argv"]
        if not _program(argv[0]) or not os.path.isabs(argv[0]):
            return {**kernel, "problem": f"{argv[0]} is not there, or no program"}
        name = os.path.basename(argv[0])
        if argv[0] in self._pythons:
            self._judge_python(kernel)
        elif name == "R" and "IRkernel::main()" in argv:
            self._judge_r(kernel)
        elif name == "julia":
            self._judge_julia(kernel)
        return kernel

    def _judge_python(self, kernel: "Spec") -> None:
        argv = kernel["argv"]
        probe = self._pythons[argv[0]].result()
        if probe is None:
            kernel.update(problem=f"{argv[0]} does not run", uncertain=True)
            return
        kernel["version"] = probe["version"]
        module = _module(argv)
        needed = "ipykernel" if module == "ipykernel_launcher" else module
        if needed and needed not in probe["has"]:
            kernel["problem"] = f"its Python has no {needed}"
            kernel.update(self._install(argv[0], needed, probe))

    def _judge_r(self, kernel: "Spec") -> None:
        program = kernel["program"]
        root = (output_of([program, "RHOME"], self.env) or "").strip()
        if not root:
            kernel.update(problem=f"{program} does not run", uncertain=True)
            return
        libraries = glob.glob(f"{_HOME}/R/*/*") + glob.glob(f"{_HOME}/Library/R/*/*/library")
        for name in ("R_LIBS", "R_LIBS_USER", "R_LIBS_SITE"):
            libraries += [os.path.expanduser(x) for x in self.env.get(name, "").split(":")]
        libraries.append(f"{root}/library")
        if root.startswith("/usr"):
            # Debian's and Red Hat's R look there as well.
            libraries += glob.glob("/usr/lib*/R/*library") + glob.glob("/usr/local/lib*/R/*library")
        kernel["version"] = _field(f"{root}/library/base/DESCRIPTION", "Version")
        if not any(os.path.isdir(f"{library}/IRkernel") for library in libraries if library):
            kernel["problem"] = "its R has no IRkernel"
            conda = self._conda_for(self._of(program))
            if conda:
                kernel["install"] = _command([*conda, "r-irkernel"])
            else:
                kernel["install"] = _command([program, "-e", _INSTALL_IRKERNEL])

    def _judge_julia(self, kernel: "Spec") -> None:
        program = kernel["program"]
        kernel["version"] = (
            (output_of([program, "--version"], self.env) or "").split(" ")[-1].strip()
        )
        argv = kernel["argv"]
        files = [word for word in argv if "/IJulia" in word and os.path.isabs(word)]
        is_there = all(map(os.path.isfile, files))
        if _RUN_IJULIA in argv:
            places = (f"{depot}/packages/IJulia" for depot in self._julia_depots)
            is_there = any(map(os.path.isdir, places))
        if not is_there:
            kernel["problem"] = "its Julia has no IJulia"
            kernel["install"] = _command([program, "-e", 'using Pkg; Pkg.add("IJulia")'])

    def _install(self, python: str, module: str, probe: "Spec") -> "Spec":
        """The command that installs a kernel's module, and where, if that is another place."""
        environment = self._of(python)
        if probe["closed"]:
            # Its system forbids pip to write there.
            own = _new_environment(f"{module}-{'.'.join(str(probe['version']).split('.')[:2])}")
            first = _command([python, "-m", "venv", own])
            pip = _command([f"{own}/bin/python", "-m", "pip", "install", module])
            return {"install": f"{first} && {pip}", "installs_into": own}
        if "pip" in probe["has"]:
            user = [] if environment is not None else ["--user"]
            return {"install": _command([python, "-m", "pip", "install", *user, module])}
        conda = self._conda_for(environment)
        if conda:
            return {"install": _command([*conda, module])}
        uv = self.uv()
        if uv:
            return {"install": _command([uv, "pip", "install", "--python", python, module])}
        pip = _command([python, "-m", "pip", "install", module])
        return {"install": f"{_command([python, '-m', 'ensurepip'])} && {pip}"}

    def _conda_for(self, environment: "Environment | None") -> "list[str]":
        if environment is not None and environment.kind == "conda":
            return self.conda_for(environment.prefix)
        return []

    def conda_for(self, prefix: str) -> "list[str]":
        """What installs a package into an environment of conda's; empty for others."""
        if os.path.isdir(os.path.join(prefix, "conda-meta")) and self.conda():
            return [self.conda(), "install", "-y", "-p", prefix]
        return []

    def conda(self) -> str:
        """The program of conda, or one that is like it; empty if there is none."""
        programs = (self._programs(name) for name in ("mamba", "micromamba", "conda"))
        return next(chain.from_iterable(programs), "")

    def uv(self) -> str:
        """The program uv; empty if there is none."""
        return next(iter(self._programs("uv")), "")

    def pythons(self, program: str = "") -> "Iterator[tuple[str, str]]":
        """The Pythons of which a virtualenv can be made: their programs, and versions.

        Args:
            program: of the only one that is meant; empty for all.
        """
        found = [e for e in self._environments.values() if e.kind in ("pyenv", "uv")]
        # It goes with its conda only, unlike other environments of that.
        found += [e for e in self._environments.values() if e.name == "base"]
        known = [*self._system_pythons(), *(e.python for e in found if e.python)]
        programs = [program] if program else known
        probes = {x: self._pool.submit(_probed, [x, "-c", _PROBE], self.env) for x in programs}
        for program, probe in probes.items():
            told = probe.result()
            if told is not None:
                yield program, told["version"]


# --- what can be asked for ----------------------------------------------------------------------


def kernels(look_in: "Sequence[str]") -> "Iterator[Spec]":
    """All kernels that could run here, and what could not be looked at.

    Args:
        look_in: directories of projects.

    Raises:
        CannotAnswer: there is no home, in which most of them lie.
    """
    if not os.path.isdir(_HOME):
        raise CannotAnswer(f"your home {_HOME} is not there")
    survey = Survey(look_in)
    yield {"kernels": list(survey.kernels()), "notes": survey.notes, "home": _HOME}


def files(directories: "Sequence[str]") -> "Iterator[Spec]":
    """What lies beside the kernel.json of kernelspecs and is shown to people: logos.

    Args:
        directories: of kernelspecs.
    """
    for directory in directories:
        found = {}
        for path in sorted(glob.glob(os.path.join(glob.escape(directory), "logo-*")))[:8]:
            try:
                with open(path, "rb") as file:
                    data = file.read(_LARGEST_FILE + 1)
            except OSError:
                continue
            if len(data) <= _LARGEST_FILE:
                found[os.path.basename(path)] = base64.b64encode(data).decode("ascii")
        yield found


def missing(paths: "Sequence[tuple[str, str]]") -> "Iterator[list[str]]":
    """Those of some paths where there is nothing, and not only nothing to be seen.

    Args:
        paths: of kernels, each with the mount point of the file system that it was on.
    """
    gone = []
    for path, mount in paths:
        try:
            if not os.path.ismount(mount):
                # A file server that is away leaves an empty directory, or none.
                continue
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            gone.append(path)
        except OSError:
            pass
    yield gone


def install(command: str) -> "Iterator[str]":
    """Run a command in the login shell; what it prints, line by line.

    Args:
        command: of sh.

    Raises:
        CannotAnswer: it has failed.
    """
    with subprocess.Popen(
        ["/bin/sh", "-c", command],
        env=login_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield line.decode("utf-8", "replace").rstrip()
    if process.returncode:
        raise CannotAnswer(f"it ended with status {process.returncode}")


FUNCTIONS = {"kernels": kernels, "files": files, "missing": missing, "install": install}


# --- small things -------------------------------------------------------------------------------


def _kernel(name: str, kind: str, path: str) -> "Spec":
    return {
        "name": name,
        "kind": kind,
        "path": path,
        "program": "",
        "argv": [],
        "language": None,
        "display_name": None,
        "version": None,
        "activate": "",
        "env": {},
        "interrupt_mode": None,
        "metadata": {},
        "files": "",
        "problem": "",
        "uncertain": False,
        "install": "",
        "installs_into": "",
        "mount": _mount_of(path),
    }


def _mount_of(path: str) -> str:
    """The mount point of the file system on which a path lies."""
    place = os.path.realpath(path)
    while not os.path.ismount(place):
        place = os.path.dirname(place)
    return place


def _read_spec(directory: str, file: str) -> "Spec":
    def read() -> "Any":
        with open(file, "rb") as opened:
            return json.loads(opened.read(_LARGEST_FILE).decode("utf-8"))

    return _spec(os.path.basename(directory), directory, read)


def _spec(name: str, path: str, read: "Callable[[], Any]") -> "Spec":
    """A kernelspec as it is read; what is wrong with it if it makes no sense."""
    spec: Spec = {"name": name, "path": path, "document": None}
    try:
        document = read()
        argv = document["argv"]
        if not argv or not isinstance(argv, list) or not all(map(_is_word, argv)):
            raise ValueError("argv is no list of words")
        for field, kind in (("env", dict), ("metadata", dict), ("language", str)):
            if not isinstance(document.get(field) or kind(), kind):
                raise ValueError(f"{field} makes no sense")
        for field in ("display_name", "interrupt_mode"):
            if not isinstance(document.get(field) or "", str):
                raise ValueError(f"{field} makes no sense")
    except OSError as error:
        spec["problem"] = f"its kernel.json cannot be read: {error.strerror}"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        spec["problem"] = f"its kernel.json is broken: {error}"
    else:
        spec["document"] = document
    return spec


def _is_word(found: "Any") -> bool:
    return isinstance(found, str) and "\0" not in found


def _field(path: str, name: str) -> "str | None":
    """A field of a file of the kind that Debian's control files and R's descriptions are."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return next(
                (x.split(":", 1)[1].strip() for x in file if x.startswith(f"{name}:")), None
            )
    except OSError:
        return None


def _venv(prefix: str) -> "Iterable[Environment]":
    return [Environment(prefix, "venv")] if is_venv(prefix) else []


def is_venv(prefix: str) -> bool:
    """Whether a directory is a virtualenv."""
    # Those of virtualenv before version 20 have no pyvenv.cfg.
    marks = ("pyvenv.cfg", "bin/activate")
    return any(os.path.isfile(os.path.join(prefix, mark)) for mark in marks)


def interpreter_of(script: str) -> str:
    """The Python that runs a script that pip or conda has installed."""
    found = re.search(r"/[^\n'\"]*/python[\d.]*(?=['\"\s])", _start_of(script))
    return found[0] if found else sys.executable


def _start_of(path: str) -> str:
    """How a file begins; empty if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(1024).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def _module(argv: "Sequence[Any]") -> str:
    """The package that a command of Python's runs (-m), behind options of Python's; or empty."""
    words = iter(map(str, argv[1:]))
    for word in words:
        if word == "-m":
            return next(words, "").partition(".")[0]
        if not word.startswith("-") or word == "-c":
            break
        if word in ("-X", "-W"):
            next(words, "")
    return ""


def _path(env: "Mapping[str, str]") -> "list[str]":
    """The directories of the PATH."""
    return [place.rstrip("/") for place in env.get("PATH", os.defpath).split(os.pathsep)]


def _jupyter_of(prefix: str) -> str:
    """The command of a Jupyter that lists kernelspecs; empty if there is none."""
    return _program(os.path.join(prefix, "bin", "jupyter-kernelspec"))


def _has_settings(prefix: str) -> bool:
    """Whether a Jupyter has settings of its own that may lead to kernelspecs."""
    place = os.path.join(glob.escape(prefix), "etc", "jupyter")
    return any(glob.glob(os.path.join(place, name)) for name in _SETTINGS)


def _new_environment(name: str) -> str:
    """Where a virtualenv can be made, and nobody has one."""
    place = first = os.path.join(_HOME, ".virtualenvs", name)
    number = 2
    while os.path.lexists(place):
        place = f"{first}-{number}"
        number += 1
    return place


def _variables(path: str, field: str = "") -> "dict[str, str]":
    """The variables in a file of conda's, as a kernelspec's env has them."""
    try:
        with open(path, encoding="utf-8") as file:
            noted = json.load(file)
        noted = noted[field] if field else noted
        return {str(name): str(value).replace("$", "$$") for name, value in noted.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _program(path: str) -> str:
    return path if os.access(path, os.X_OK) and os.path.isfile(path) else ""


def _is_shim(path: str) -> bool:
    """Whether a program is pyenv's, which only looks for one of its name, and may find none."""
    return os.path.dirname(path).endswith("/shims")


def _command(argv: "Sequence[str]") -> str:
    return " ".join(map(shlex.quote, argv))


def _probed(command: "list[str]", env: "dict[str, str]") -> "Spec | None":
    try:
        found: Spec = json.loads((output_of(command, env) or "").rpartition(_ENDS_PROBE)[2])
    except (ValueError, RecursionError):
        return None
    is_whole = isinstance(found, dict) and {"prefix", "version", "has", "closed"} <= set(found)
    return found if is_whole else None
