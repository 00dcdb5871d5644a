"""A generated plugin has the files that belong to the answers, and contains the answers."""

import ast
import re
from pathlib import Path

import pytest

from hooks import post_gen_project
from tests.generated import ROOT, Generator, Plugin, template_copy

EXPECTED = (Path(__file__).parent / "generated_paths.txt").read_text(encoding="utf-8")
MADE_BY_TOOLS = re.compile(
    r"\.venv/|\w_cache/|__pycache__|uv\.lock|dist/|/out/|conversation\.(wav|png)"
)


def files_in(folder: Path) -> list[str]:
    """Names of a plugin's files, without those of tools that other tests have run in the folder."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if not MADE_BY_TOOLS.search(name))


def test_has_these_files_and_no_others(plugin: Plugin) -> None:
    """generated_paths.txt names a file a line; conditions in answers follow the name."""
    expected = set()
    for line in EXPECTED.splitlines():
        name, *conditions = line.split()
        if {tuple(each.split("=")) for each in conditions} <= plugin.answers.items():
            expected.add(name.replace("SLUG", plugin.slug))
    assert set(files_in(plugin.path)) == expected


@pytest.mark.parametrize("name", ["default", "short_names", "long_names", "other_rates", "webrtc"])
def test_leaves_no_template_syntax(plugins: dict[str, Plugin], name: str) -> None:
    plugin = plugins[name]
    for path in files_in(plugin.path):
        assert "cookiecutter" not in path
        if path.endswith((".wav", ".pcm")):
            continue
        text = (plugin.path / path).read_text(encoding="utf-8")
        found = re.search(r"cookiecutter\.|\{%|%\}|\{#|#\}|(?<!\$)\{\{ ", text)
        assert found is None, f"{path}: {text[found.start() - 40 : found.end() + 40]!r}"


def test_files_end_with_one_newline_and_no_line_with_spaces(plugin: Plugin) -> None:
    for path in files_in(plugin.path):
        if path.endswith((".py", ".toml", ".md", ".yml", ".yaml", "LICENSE", ".gitignore")):
            text = (plugin.path / path).read_text(encoding="utf-8")
            assert not text or re.search(r"\S\n\Z", text), path
            assert not re.search(r"[ \t]+$", text, re.MULTILINE), path


def test_the_engine_is_copied_as_it_stands(plugin: Plugin) -> None:
    package = "{{cookiecutter.plugin_slug}}/vision_agents/plugins/{{cookiecutter.plugin_slug}}"
    engine = list((plugin.package / "_engine").glob("*.py"))
    assert engine
    for path in engine:
        assert path.read_bytes() == (ROOT / package / "_engine" / path.name).read_bytes()


def test_every_variant_is_in_the_template() -> None:
    package = "vision_agents/plugins/{{cookiecutter.plugin_slug}}"
    for choices, patterns in post_gen_project.VARIANTS.values():
        for pattern in patterns.replace("{package}", package).split():
            for choice in choices.split():
                path = ROOT / "{{cookiecutter.plugin_slug}}" / pattern.replace("*", choice)
                assert path.exists(), path


def test_caches_of_tools_in_the_template_are_left_out(tmp_path: Path) -> None:
    template = template_copy(tmp_path / "template")
    package = "{{cookiecutter.plugin_slug}}/vision_agents/plugins/{{cookiecutter.plugin_slug}}"
    for name in ("__pycache__", "_engine/__pycache__", "_engine/.mypy_cache/3.11/__pycache__"):
        (template / package / name).mkdir(parents=True)
        (template / package / name / "file").write_text("")
    plugin = Generator(tmp_path / "cookiecutter", template)(tmp_path / "output")
    assert list(plugin.path.rglob("*cache*")) == []
    assert (plugin.package / "_engine" / "__init__.py").exists()


@pytest.mark.parametrize(("file", "name"), [("{}_realtime", "Realtime"), ("client", "Client")])
def test_the_readme_names_every_parameter_and_its_default(
    plugin: Plugin, file: str, name: str
) -> None:
    module = ast.parse((plugin.package / f"{file.format(plugin.slug)}.py").read_bytes())
    constants = {
        node.targets[0].id: ast.unparse(node.value)
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    [cls] = [n for n in module.body if isinstance(n, ast.ClassDef) and n.name == name]
    [init] = [n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    positional = init.args.args[1:]
    defaults = [None] * (len(positional) - len(init.args.defaults)) + init.args.defaults
    parameters = list(zip(positional, defaults, strict=True))
    parameters += zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)

    readme = (plugin.path / "README.md").read_text(encoding="utf-8")
    section = readme.split(f"`{plugin.slug}.{name}(...)`", 1)[1].split("\n\n", 2)[1]
    rows = [
        [cell.strip().strip("`") for cell in row.split("|")[1:3]] for row in section.splitlines()
    ]
    assert [row[0] for row in rows[2:]] == [argument.arg for argument, _ in parameters]
    for (argument, default), (_, shown) in zip(parameters, rows[2:], strict=True):
        code = ast.unparse(default) if default else ""
        # The model is shown, whatever the constant's name; a long address is not.
        accepted = {code, constants.get(code, code)}
        assert shown.replace('"', "'") in accepted, argument.arg


@pytest.mark.parametrize("license", ["MIT", "Apache-2.0", "BSD-3-Clause"])
def test_the_license_is_the_one_chosen(license: str, generate: Generator, tmp_path: Path) -> None:
    plugin = generate(tmp_path, license=license)
    first = {
        "MIT": "MIT License",
        "Apache-2.0": "Apache License",
        "BSD-3-Clause": "BSD 3-Clause License",
    }
    text = (plugin.path / "LICENSE").read_text(encoding="utf-8")
    assert text.strip().splitlines()[0].strip() == first[license]
    assert f'license = "{license}"' in (plugin.path / "pyproject.toml").read_text(encoding="utf-8")
