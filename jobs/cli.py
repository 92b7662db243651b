"""The command line: ``headsplat VERB ...``.

A verb is a frozen dataclass of options and a function that takes it and returns the exit code. Both
are imported when the verb is used, so that ``headsplat --help`` answers at once.

Exit codes: 0 everything is ok, 1 something was rejected or failed, 2 the command cannot be run.
"""

import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

DEBUG = "HEADSPLAT_DEBUG"
"""Environment variable; when it is set, libraries say all they have to say, and so do errors."""
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Verb:
    """Where a verb's options and function are.

    Attributes:
        module: the module that has both.
        options: name of the dataclass of options.
        function: name of the function.
        summary: what it does, in a few words.
    """

    module: str
    options: str
    function: str
    summary: str

    def load(self) -> tuple[type[Any], Callable[[Any], int]]:
        """Import the options' class and the function."""
        module = importlib.import_module(self.module)
        return getattr(module, self.options), getattr(module, self.function)


VERBS: dict[str, Verb] = {
    "make": Verb("jobs.make", "MakeOptions", "make", "avatars of a few photos, without Ray"),
    "generate": Verb(
        "jobs.generate", "GenerateOptions", "generate", "avatars of many photos, with Ray"
    ),
    "submit": Verb("jobs.submit", "SubmitOptions", "submit", "generate, on a cluster"),
    "jobs status": Verb(
        "jobs.job_verbs", "StatusOptions", "status", "how the jobs of a cluster are doing"
    ),
    "jobs logs": Verb("jobs.job_verbs", "LogsOptions", "logs", "what a job prints"),
    "jobs stop": Verb("jobs.job_verbs", "StopOptions", "stop", "end a job"),
    "cluster check": Verb(
        "jobs.cluster_check", "CheckOptions", "check", "what is wrong with a cluster.yaml"
    ),
    "heads render": Verb(
        "jobs.heads", "RenderOptions", "render", "a dataset of digital humans to train on"
    ),
    "heads sheet": Verb("jobs.head_sheets", "SheetOptions", "sheet", "a picture of digital humans"),
    "heads average": Verb("jobs.head_average", "AverageOptions", "average", "their mean face"),
    "heads stats": Verb("jobs.head_stats", "StatsOptions", "stats", "what a dataset holds"),
    "train": Verb("jobs.train_verb", "TrainVerbOptions", "train", "one part of a model"),
    "evaluate": Verb(
        "jobs.evaluate", "EvaluateOptions", "evaluate", "how good a model is on held-out heads"
    ),
    "evaluate ablations": Verb(
        "jobs.ablations", "AblationOptions", "ablations", "what each part of a model is worth"
    ),
    "evaluate study": Verb(
        "jobs.study", "StudyOptions", "study", "a page that asks people what they prefer"
    ),
    "evaluate tally": Verb("jobs.study", "TallyOptions", "tally", "what they answered"),
    "convert": Verb(
        "jobs.convert", "ConvertOptions", "convert", "Gaussians from one format to another"
    ),
    "render": Verb("jobs.render", "RenderOptions", "render", "pictures of an avatar"),
    "models import": Verb(
        "jobs.model_import",
        "ImportOptions",
        "import_weights",
        "published weights into a model folder",
    ),
    "models info": Verb("jobs.models", "InfoOptions", "info", "what a model folder holds"),
    "serve": Verb("jobs.serve", "ServeOptions", "serve", "avatars online, through an HTTP API"),
    "keys create": Verb("jobs.keys", "CreateOptions", "create", "an API key for the service"),
    "keys list": Verb("jobs.keys", "ListOptions", "list_keys", "the API keys"),
    "keys revoke": Verb("jobs.keys", "RevokeOptions", "revoke", "an API key made void"),
    "plan": Verb("jobs.plan", "PlanOptions", "plan", "what a job takes: hours, bytes, money"),
    "doctor": Verb("jobs.doctor", "DoctorOptions", "doctor", "what this machine can run"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; a user's mistake never gives a traceback."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if arguments else EXIT_USAGE
    if arguments[0] == "--version":
        from pipeline import __version__

        print(f"headsplat {__version__}")
        return 0
    name = next((n for n in (" ".join(arguments[:2]), arguments[0]) if n in VERBS), None)
    if name is None:
        return _unknown(arguments)
    return _run(name, arguments[len(name.split()) :])


def _run(name: str, arguments: Sequence[str]) -> int:
    from pipeline.errors import BackendUnavailable, HeadsplatError, UsageError

    if DEBUG not in os.environ:
        _quiet_libraries()
    try:
        options, function = _parse(name, arguments)
        return function(options)
    except HeadsplatError as error:
        print(f"headsplat {name}: {error}", file=sys.stderr)
        usage = isinstance(error, UsageError | BackendUnavailable)
        return EXIT_USAGE if usage else EXIT_FAILED
    except OSError as error:  # a full disk, a folder without permission, a lost connection
        if DEBUG in os.environ:
            raise
        print(f"headsplat {name}: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt as interrupt:
        advice = str(interrupt) or "stopped; run it again to go on"
        print(f"\nheadsplat {name}: {advice}", file=sys.stderr)
        return EXIT_INTERRUPTED


def _quiet_libraries() -> None:
    """Keep what libraries tell their programmers off the terminal, also in worker processes."""
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _parse(name: str, arguments: Sequence[str]) -> tuple[Any, Callable[[Any], int]]:
    import tyro

    options, function = VERBS[name].load()
    parsed = tyro.cli(
        options,
        prog=f"headsplat {name}",
        args=list(arguments),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    return parsed, function


def _help() -> str:
    width = max(map(len, VERBS)) + 2
    verbs = "\n".join(f"  {name:<{width}}{verb.summary}" for name, verb in VERBS.items())
    return (
        "usage: headsplat VERB [OPTIONS]\n\n"
        "Turns portrait photos into full-head 3D Gaussian avatars.\n\n"
        f"{verbs}\n\n"
        "  headsplat make me.jpg -o avatars          one photo\n"
        "  headsplat generate photos/ avatars/       a collection; resumes where it stopped\n"
        "  headsplat VERB --help                     the options of a verb\n"
        "  headsplat --version"
    )


def _unknown(arguments: Sequence[str]) -> int:
    import difflib

    family = [name for name in VERBS if name.split()[0] == arguments[0]]
    near = family or difflib.get_close_matches(arguments[0], VERBS, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; see headsplat --help"
    print(f"headsplat: no verb {' '.join(arguments[:1])!r}{hint}", file=sys.stderr)
    return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
