"""README and docs: what they link to exists, and what they tell the reader to type is understood. No TensorFlow."""

import ast
import configparser
import importlib
import re
import runpy
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import nst_tf
from nst_tf import flags
from nst_tf.config import StylizeConfig, check
from nst_tf.vocabulary import UserError

ROOT = Path(__file__).resolve().parents[1]
README, CONTRIBUTING, CHANGELOG = (ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG"))
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [README, CONTRIBUTING, CHANGELOG, ROOT / "samples/README.md", ROOT / "logs/README.md", *PAGES]
MOST_README_WORDS = 1200

# Commands of the fences that are none of this project: they are not looked into.
FOREIGN_COMMANDS = {".", "cd", "curl", "docker", "git", "pip", "printf", "tensorboard", "tensorflow_model_server"}
FOREIGN_MODULES = {"flake8", "mypy", "pip", "pytest", "venv"}
# Flags of them that the text names, and those that every script has.
OTHER_FLAGS = {"flagfile", "help", "helpfull", "version", "samples_per_plugin"}


class Parser(NamedTuple):
    """How a script reads its command line: the arguments of `flags.parse`."""

    config_types: Sequence[type]
    about: str
    actions: dict[str, str]

    def names(self) -> set[str]:
        """Its flags, without dashes."""
        return {field.name for config in self.config_types for field in fields(config)} | set(self.actions)

    def problems(self, name: str, arguments: Sequence[str]) -> Iterator[str]:
        """What the script would refuse; files are not looked at."""
        # A flag file of a run is there only after the run.
        given = [argument for argument in arguments if not argument.startswith("--flagfile=logs/")]
        try:
            configs, _ = flags.parse([name, *given], self.config_types, self.about, self.actions)
            for config in configs:
                check(config)
        except flags.Answer:
            pass
        except UserError as error:
            yield f"{name}: {error}"


def _parser(start: Callable[[], object]) -> Parser:
    """The parser of a script, which is started with another `flags.main` that only looks."""
    seen: list[Parser] = []

    def main(script: object, config_types: Sequence[type], about: str, actions: dict[str, str] | None = None) -> None:
        seen.append(Parser(config_types, about, actions or {}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flags, "main", main)
        start()
    return seen[0]


@cache
def _script(path: str) -> Parser:
    return _parser(lambda: runpy.run_path(str(ROOT / path), run_name="__main__"))


@cache
def _installed_commands() -> dict[str, Parser]:
    """{nst-NAME: its parser} of the entry points in setup.cfg."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = setup.get("options.entry_points", "console_scripts", fallback="").strip().splitlines()
    targets = {name.strip(): target.strip().split(":") for name, target in (line.split("=") for line in lines)}
    return {name: _parser(getattr(importlib.import_module(module), function))
            for name, (module, function) in targets.items()}


@cache
def _known_flags() -> set[str]:
    return OTHER_FLAGS.union(*(_script(f"scripts/{path.name}").names() for path in (ROOT / "scripts").glob("*.py")))


@cache
def _benchmark_flags(name: str) -> set[str]:
    """The flags that a benchmark, or another that it imports, defines."""
    source = (ROOT / f"benchmarks/{name}.py").read_text(encoding="utf-8")
    imported = set(re.findall(r"from benchmarks\.(\w+) import", source)) - {name}
    own = re.findall(r'(?:DEFINE_\w+|add_argument)\(\s*"(?:--)?(\w+)"', source)
    return set(own).union(*map(_benchmark_flags, imported))


@cache
def _code_words() -> set[str]:
    sources = (path for folder in ("nst_tf", "scripts", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")
               if path != Path(__file__))
    return set().union(*(re.findall(r"\w+", source.read_text(encoding="utf-8")) for source in sources))


def _slugs(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ +(.+?) *$", _split(text)[0], re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _split(text: str) -> tuple[str, list[tuple[str, str]]]:
    """The text without its fences, and (language, code) of each fence."""
    fence = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
    return fence.sub("", text), fence.findall(text)


def _link_problems(page: Path, text: str, prose: str) -> Iterator[str]:
    for target in re.findall(r"\]\(([^()\s]+)\)", re.sub(r"`[^`\n]*`", "", prose)):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name
        if not path.exists():
            yield f"{target}: no such file"
        elif anchor and anchor not in _slugs(path.read_text(encoding="utf-8") if name else text):
            yield f"{target}: no such heading"


def _commands(code: str) -> Iterator[list[str]]:
    """The words of every simple command of shell code; pipes and lists are taken apart."""
    for line in code.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("&|;"):
                if words:
                    yield words
                words = []
            else:
                words.append(word)


def _command_problems(words: Sequence[str]) -> Iterator[str]:
    program, *arguments = words
    if re.fullmatch(r"(\.venv/bin/)?python[\d.]*", program):
        yield from _python_problems(arguments)
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        yield from (f"make {target}: no such target" for target in arguments
                    if "=" not in target and target not in targets)
    elif program in _installed_commands():
        yield from _installed_commands()[program].problems(program, arguments)
    elif program not in FOREIGN_COMMANDS and not (ROOT / program).is_file():
        yield f"{program}: no such command"


def _python_problems(arguments: Sequence[str]) -> Iterator[str]:
    """What is wrong with `python ARGUMENTS`: `-m MODULE --flag…` or `scripts/NAME.py --flag…`."""
    option, *rest = arguments
    if option == "-m":
        package, _, name = rest[0].partition(".")
        if package == "benchmarks" and (ROOT / f"benchmarks/{name}.py").exists():
            yield from _benchmark_problems(name, rest[1:])
        elif rest[0] not in FOREIGN_MODULES:
            yield f"python -m {rest[0]}: no such module"
    elif not (ROOT / option).is_file():
        yield f"python {option}: no such file"
    elif option.startswith("scripts/"):
        yield from _script(option).problems(option, rest)
    elif option.startswith("benchmarks/"):
        yield f"python {option}: write python -m benchmarks.{Path(option).stem}"


def _benchmark_problems(name: str, arguments: Sequence[str]) -> Iterator[str]:
    given = dict(argument[2:].partition("=")[::2] for argument in arguments if argument.startswith("--"))
    yield from (f"benchmarks.{name}: no flag --{flag}" for flag in given if flag not in _benchmark_flags(name))
    # The flag and the values that benchmarks.controls shows are those of stylize.py.
    if name == "controls":
        for value in given.get("values", "").split(","):
            shown = f"--{given.get('flag', 'statistic')}={value}"
            yield from _script("scripts/stylize.py").problems("benchmarks.controls", [shown])


def _python_code_problems(code: str) -> Iterator[str]:
    try:
        tree = ast.parse(code)
    except SyntaxError as error:
        yield f"python code: {error}"
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "nst_tf":
            yield from (f"nst_tf has no {alias.name}" for alias in node.names if alias.name not in nst_tf.__all__)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "StylizeConfig":
            settings = {field.name for field in fields(StylizeConfig)}
            yield from (f"StylizeConfig has no {given.arg}" for given in node.keywords if given.arg not in settings)


def _span_problems(spans: Iterable[str]) -> Iterator[str]:
    """What is wrong with text in backticks: commands, flags and paths of the repository."""
    for span in spans:
        if re.match(r"((\.venv/bin/)?python|make) |nst-", span):
            for words in _commands(span):
                yield from _command_problems(words)
            continue
        for flag in re.findall(r"(?<![\w-])--([a-z\d_]+)\b", span):
            if flag not in _known_flags():
                yield f"--{flag}: no script has it"
        if re.fullmatch(r"[\w./-]+\.py", span) and not _is_code(span):
            yield f"{span}: no such file"


def _is_code(path: str) -> bool:
    """Whether a file of the repository is meant: from its root, from nst_tf/, or by its name alone."""
    if "/" in path:
        return (ROOT / path).is_file() or (ROOT / "nst_tf" / path).is_file()
    return any(any((ROOT / folder).rglob(path)) for folder in ("nst_tf", "scripts", "tests", "benchmarks"))


def _name_problems(spans: Iterable[str], examples: Iterable[str]) -> Iterator[str]:
    """Names in backticks, and names and paths in Python code, that the code of the project does not have."""
    names = [span for span in spans
             if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", span) and not re.search(r"\.(py|md|cfg|json|jsonl)$", span)]
    for code in examples:
        names += [node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)]
        yield from (f"{path}: no such file" for path in re.findall(r"[\w/]+\.py\b", code)
                    if "NAME" not in path and not _is_code(path))
    yield from (f"{name}: no code has this name" for name in names if not set(name.split(".")) <= _code_words())


def problems(page: Path, text: str) -> list[str]:
    """What is wrong with a page.

    The history of CHANGELOG.md names flags and files that are gone: only its links are looked at. CONTRIBUTING.md names
    functions and tables: each has to be in the code.
    """
    prose, fences = _split(text)
    found = list(_link_problems(page, text, prose))
    if page == CHANGELOG:
        return found
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    found += _span_problems(spans)
    for language, code in fences:
        if language == "sh":
            found += [problem for words in _commands(code) for problem in _command_problems(words)]
        elif language == "python":
            found += _python_code_problems(code)
    examples = [code for language, code in fences if language == "python"]
    return found + (list(_name_problems(spans, examples)) if page == CONTRIBUTING else [])


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_every_link_command_flag_and_path_of_the_docs_is_right() -> None:
    found = [f"{page.relative_to(ROOT)}: {problem}" for page in DOCUMENTS
             for problem in problems(page, page.read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


def test_the_readme_is_short_and_shows_the_way() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.split()) <= MOST_README_WORDS
    commands = [words for language, code in _split(text)[1] if language == "sh" for words in _commands(code)]
    assert ["make", "demo"] in commands and ["make", "test"] in commands
    links = set(re.findall(r"\]\(([^()\s]+)\)", text))
    assert {str(page.relative_to(ROOT)) for page in [*PAGES, CONTRIBUTING, CHANGELOG]} <= links


def test_every_page_shows_something_to_check() -> None:
    # Where the patterns above no longer match how the pages are written, nothing would be checked.
    texts = [page.read_text(encoding="utf-8") for page in DOCUMENTS]
    commands = [words for text in texts for language, code in _split(text)[1] if language == "sh"
                for words in _commands(code)]
    assert sum(words[0] == "python" for words in commands) > 40
    assert sum("](" in text for text in texts) >= len(PAGES)
    assert all(text.count("```") == 2 * len(_split(text)[1]) for text in texts)


@pytest.mark.parametrize("text, problem", [
    ("[a](docs/none.md)", "docs/none.md: no such file"),
    ("![a](docs/images/none.jpg)", "docs/images/none.jpg: no such file"),
    ("# One thing\n\n[a](#one-thing) [b](#another)", "#another: no such heading"),
    ("[a](CONTRIBUTING.md#habit)", "CONTRIBUTING.md#habit: no such heading"),
    ("`--stile`", "--stile: no script has it"),
    ("`nst_tf/losses/none.py`", "nst_tf/losses/none.py: no such file"),
    ("`recipes/none.py`", "recipes/none.py: no such file"),
    ("`none_at_all.py`", "none_at_all.py: no such file"),
    ("`make coffee`", "make coffee: no such target"),
    ("`python -m benchmarks.none --size=3`", "python -m benchmarks.none: no such module"),
    ("```sh\npython -m benchmarks.borders --none=3\n```", "benchmarks.borders: no flag --none"),
    ("```sh\npython -m benchmarks.controls --flag=pooling --values=max,least\n```", "'least'"),
    ("```sh\npython benchmarks/borders.py\n```", "write python -m benchmarks.borders"),
    ("```sh\ncd x && python scripts/none.py\n```", "python scripts/none.py: no such file"),
    ("```sh\npython scripts/stylize.py \\\n    --stile=a.jpg\n```", "Did you mean: style"),
    ("```sh\npython scripts/stylize.py --statistic=gramm\n```", "'gramm'"),
    ("```sh\npython scripts/dream.py --octaves=0\n```", "--octaves=0 is out of range"),
    ("```sh\npython scripts/stylize.py photo.jpg\n```", "'photo.jpg' stands alone"),
    ("```sh\nnst-dream --octaves=0\n```", "--octaves=0 is out of range"),
    ("```sh\nnst-none --size=3\n```", "nst-none: no such command"),
    ("```sh\npyhton scripts/stylize.py\n```", "pyhton: no such command"),
    ("```python\nfor\n```", "python code: "),
    ("```python\nfrom nst_tf import none\n```", "nst_tf has no none"),
    ("```python\nStylizeConfig(content='a.jpg', stile='b.jpg')\n```", "StylizeConfig has no stile"),
])
def test_what_is_wrong_is_found(text: str, problem: str) -> None:
    (found,) = problems(README, text)
    assert problem in found


def test_contributing_names_nothing_that_is_gone() -> None:
    text = "`RECIPES` `Session.decided` `no_such_function`\n\n```python\nx = no_such_name  # losses/none.py\n```\n"
    assert problems(CONTRIBUTING, text) == [
        "losses/none.py: no such file",
        "no_such_function: no code has this name", "no_such_name: no code has this name"]
