"""Finish the plugin that Cookiecutter has rendered. It runs this file in the plugin's folder.

This keeps one of each variant, writes the author's name as git's configuration has it and where the testkit is,
makes the plugin a member of a checkout of Vision Agents, and prints what to do next.
"""

import difflib
import json
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from io import TextIOWrapper
from pathlib import Path

ANSWERS = r"""{{ cookiecutter | jsonify }}"""

# Files and folders that exist once for each choice, as NAME_CHOICE.ext: one is kept, as NAME.ext.
VARIANTS = {
    "license": ("MIT Apache-2.0 BSD-3-Clause", "LICENSE_*"),
    "transport": ("websocket webrtc", "{package}/client_*.py"),
    "wire": ("openai plain", "{package}/wire_*.py tests/frames_*"),
}
# Files and folders that are kept for some answers only. Vision Agents' repository has one .github (and so
# on) for all plugins; with a py.typed in the package, its mypy would find each file twice.
ONLY_WITH = {
    "layout=standalone": ".github .gitignore .pre-commit-config.yaml LICENSE {package}/py.typed",
    "transport=webrtc": "{engine}/peer.py {engine}/playout.py {engine}/signaling.py {engine}/tracks.py {engine}/webrtc.py",
    "transport=webrtc wire=openai": "tests/frames/client/ClearOutput.json",
    "transport=websocket": "{engine}/websocket.py",
    # These contain audio formats, which WebRTC's tracks do not need.
    "not transport=webrtc wire=openai": "tests/frames/client/Configure.json tests/frames/client/Configure-manual.json",
    "video=yes": "{engine}/video.py tests/frames/client/AppendImage.json",
}
ROOT = Path("pyproject.toml")
CORE = Path("agents-core", "pyproject.toml")


def main() -> None:
    """Finish the plugin."""
    answers: dict[str, str] = json.loads(ANSWERS)
    folder = Path.cwd()
    choose(folder, answers)
    write_author(folder, answers)
    source = testkit_source(answers)
    owner = folder / ROOT
    lines = [f"{answers['plugin_slug']} is in {folder}."]
    if answers["layout"] == "workspace":
        owner = folder.parent.parent / ROOT
        lines += register(owner.parent, answers, source)
    else:
        rewrite(owner, {answers["__testkit_source"]: source})
    rewrite(folder / "example" / ROOT, {answers["__testkit_source"]: source})
    (folder / "UNFINISHED.txt").unlink(missing_ok=True)
    # cruft makes copies in temporary folders, to compare them: nothing is printed about these.
    if "_output_dir" in answers or not re.fullmatch(r"tmp\w{8}", folder.parent.name):
        tell([*lines, *what_comes_next(folder, answers, f"  {source}\n  in {owner}")])


def choose(folder: Path, answers: Mapping[str, str]) -> None:
    """Keep what belongs to the answers."""
    package = f"vision_agents/plugins/{answers['plugin_slug']}"
    folders = {"package": package, "engine": f"{package}/_engine"}
    for answer, (choices, patterns) in VARIANTS.items():
        for pattern in patterns.format(**folders).split():
            chosen = existing(folder / pattern.replace("*", answers[answer]))
            for path in [chosen, *chosen.rglob("*")]:
                place = folder / pattern.replace("_*", "") / path.relative_to(chosen)
                if path.is_dir():
                    place.mkdir(exist_ok=True)
                else:
                    path.replace(place)
            for choice in choices.split():
                remove(folder / pattern.replace("*", choice))
    for conditions, names in ONLY_WITH.items():
        wanted = dict(each.split("=") for each in conditions.removeprefix("not ").split())
        kept = (wanted.items() <= answers.items()) != conditions.startswith("not ")
        for name in names.format(**folders).split():
            (existing if kept else remove)(folder / name)
    # Cookiecutter also copies the caches that tools leave in the template's folder.
    for path in list(folder.glob("[a-z]*/**/[._]*cache*")):
        remove(path)


def existing(path: Path) -> Path:
    """Return the path of a file or folder; end the run if it does not exist."""
    return path if path.exists() else sys.exit(f"Please report: the template has no {path.name}.")


def remove(path: Path) -> None:
    """Remove a file, or a folder with its content, if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def rewrite(path: Path, texts: Mapping[str, str]) -> None:
    """Replace texts in a file."""
    text = path.read_bytes().decode()
    for old, new in texts.items():
        text = text.replace(old, new)
    path.write_bytes(text.encode())


def write_author(folder: Path, answers: Mapping[str, str]) -> None:
    """Write the author's name, e-mail and account from git's configuration, where none was given."""
    home = Path("~").expanduser()
    files = [home / ".config" / "git" / "config", home / ".gitconfig"]
    files += [parent / ".git" / "config" for parent in reversed(folder.parents)]
    name = email = account = ""
    for settings in map(git_settings, files):
        name = settings.get("user.name", name)
        email = settings.get("user.email", email)
        account = settings.get("github.user", account)
    texts: dict[str, str] = {}
    if name.isprintable() and "\ufffd" not in name and re.fullmatch(r"\w[^\"\\{}]{0,99}", name):
        texts |= {' name = "Your Name"': f' name = "{name}"', " Your Name\n": f" {name}\n"}
    if re.fullmatch(r"[\w.%+-]+@([\w-]+\.)+[A-Za-z]+", email, re.ASCII):
        texts[' email = "you@example.com"'] = f' email = "{email}"'
    if re.fullmatch(r"[A-Za-z0-9-]+", account):
        address = "github.com/{}/vision-agents-plugins-"
        texts[address.format("your-name")] = address.format(account)
    for file in ("pyproject.toml", "LICENSE", "README.md"):
        if (folder / file).is_file():
            rewrite(folder / file, texts)


def git_settings(file: Path) -> dict[str, str]:
    """Return the settings in one of git's files; none if it does not exist."""
    settings, section = dict[str, str](), ""
    for line in file.read_bytes().decode(errors="replace").splitlines() if file.is_file() else []:
        name, equals, value = map(str.strip, line.partition("="))
        if name.startswith("["):
            section = name.strip("[]")
        elif equals:
            settings[f"{section}.{name}".lower()] = value.strip('"')
    return settings


def testkit_source(answers: Mapping[str, str]) -> str:
    """Return the line for uv that says where the testkit is, which is beside the template."""
    requirement = answers["__testkit_source"].split()[0] + " = {"
    template, repository = answers["_template"], answers.get("_repo_dir")
    if repository in (None, template):
        # A relative path starts where Cookiecutter was started: here, or in a folder above.
        output = Path(answers.get("_output_dir", "/"))
        for start in (output, *output.parents, Path(os.environ.get("PWD", "/"))):
            folder = Path(os.path.normpath(start / template))
            testkit = (folder / "testkit").as_posix()
            if (folder / "cookiecutter.json").exists() and Path(testkit, "pyproject.toml").exists():
                path = json.dumps(testkit, ensure_ascii=False)
                return f"{requirement} path = {path}, editable = true" + " }"
    url, revision = template, answers.get("_commit", "")
    if repository is not None:
        git = Path(repository, ".git")
        url = git_settings(git / "config").get('remote "origin".url', "")
        head = git / "HEAD"
        while head.is_file():
            revision = head.read_text("utf-8").strip()
            head = git / revision.removeprefix("ref: ")
    known = re.fullmatch(r'([\w+]+://|[\w.-]+@[\w.-]+:)[^\s"\\]+', url)
    if template.lower().endswith(".zip") or not known:
        return answers["__testkit_source"]
    url = re.sub(r"^([\w.-]+@[\w.-]+):(?!//)", r"ssh://\1/", url.removeprefix("git+"))
    url = re.sub(r"^(https?://)[^/@]*@", r"\1", url)  # Keeps a password out of the file.
    pinned = f', rev = "{revision}"' if re.fullmatch(r"[0-9a-f]{40,64}", revision) else ""
    return f'{requirement} git = "{url}", subdirectory = "testkit"{pinned}' + " }"


def register(checkout: Path, answers: Mapping[str, str], source: str) -> list[str]:
    """Make the plugin a member of a checkout, or tell how. Return what to print."""
    slug, distribution = answers["plugin_slug"], answers["__distribution"]
    extra = slug.replace("_", "-")

    def root(text: str) -> str:
        like = r"(vision-agents-\S+) = [^\r\n]+"
        text = insert(text, like, distribution, f"{distribution} = " + "{ workspace = true }")
        text = insert(text, like, source.split()[0], source)
        return insert(text, r'"(plugins/[^"]+)",', f"plugins/{slug}", f'"plugins/{slug}",')

    def core(text: str) -> str:
        like = r'(\S+) = \["vision-agents-plugins-[^\r\n]+'
        return insert(text, like, extra, f'{extra} = ["{distribution}"]')

    try:
        patches = patch(checkout, ROOT, root) + patch(checkout, CORE, core)
        if answers["__register"] == "yes":
            write(checkout / ROOT, root)
            write(checkout / CORE, core)
            patches = ""
        lines = [f"It is registered in {ROOT} and {CORE.as_posix()} of {checkout}."]
        if patches:
            lines = [f"`git apply` registers it in {checkout} with this patch:\n", patches]
    except (OSError, ValueError) as error:
        lines = [f"It is not registered in {checkout}: {error}"]
    return [
        *lines,
        f"For CHANGELOG.md, New Features:\n\n### `{slug}` plugin: {answers['description']}\n",
        f"Adds `{slug}.Realtime`. It reads `{answers['__env_prefix']}_API_KEY` from the environment."
        f" Install with `vision-agents[{extra}]`.",
    ]


def insert(text: str, like: str, name: str, line: str) -> str:
    """Return a TOML file's text with a line added before the first similar one that sorts after it."""
    similar = list(re.finditer(rf"^([ \t]*){like}(\r?\n)", text, re.MULTILINE))
    if name in [match[2] for match in similar]:
        return text
    if not similar:
        raise ValueError(f"a file is written in an unknown way. Add by hand: {line}")
    after = next((match for match in similar if match[2] > name), None)
    like_it = after or similar[-1]
    place = after.start() if after else like_it.end()
    return f"{text[:place]}{like_it[1]}{line}{like_it[3]}{text[place:]}"


def patch(checkout: Path, path: Path, change: Callable[[str], str]) -> str:
    """Return what `git apply` takes in the checkout's folder."""
    before = (checkout / path).read_bytes().decode()
    old, new = (re.findall(r"[^\n]*\n|[^\n]+", text) for text in (before, change(before)))
    lines = difflib.unified_diff(old, new, f"a/{path.as_posix()}", f"b/{path.as_posix()}")
    cut = "\n\\ No newline at end of file\n"
    return "".join(line if line.endswith("\n") else line + cut for line in lines)


def write(path: Path, change: Callable[[str], str]) -> None:
    """Change a file, and keep what others write to it meanwhile. A link stays a link."""
    path = path.resolve()
    new = path.with_name(f".{path.name}.new")  # Other runs wait while it exists.
    for _ in range(200):
        before = path.read_bytes()
        after = change(before.decode()).encode()
        try:
            with new.open("xb") as file:
                file.write(after)
            shutil.copymode(path, new)
            if path.read_bytes() == before:
                new.replace(path)
                return
            new.unlink()
        except FileExistsError:
            time.sleep(0.05)
    raise ValueError(f"another run is writing {path}. If there is none, delete {new}.")


def what_comes_next(folder: Path, answers: Mapping[str, str], source: str) -> list[str]:
    """Return three commands, and where the testkit is taken from."""
    uv = "uv" if shutil.which("uv") else shell(os.environ.get("UV", "uv"))
    run, here, plugin = f"{uv} run", folder, ""
    if answers["layout"] == "workspace":
        run += f" --package {answers['__distribution']}"
        here, plugin = folder.parent.parent, f"plugins/{folder.name}/"
    return [
        f"\n  cd {shell(str(here))}\n",
        "Hear it, a conversation with an embedded provider, without a key:",
        f"  {uv} run --project {plugin}example {plugin}example/offline_demo.py",
        "Test it, with the contract suite, offline:",
        f"  {run} pytest {plugin}".rstrip(),
        f"Put in your provider, as {plugin}CONTRIBUTING.md says, and test it with your key:",
        f"  {run} --env-file {plugin}example/.env pytest {plugin} --live".replace("  -", " -"),
        f"\nThe testkit is found by this line, which you may change:\n{source}",
    ]


def shell(word: str) -> str:
    """Quote a word for the shell."""
    return f'"{word}"' if os.name == "nt" else shlex.quote(word)


def tell(lines: list[str]) -> None:
    """Print lines. A closed output is not an error: the plugin is finished."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
        try:
            print("\n".join(lines), flush=True)
        except OSError:  # The interpreter flushes again at its end, and must not fail.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
