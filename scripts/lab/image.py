"""The image of a lab host: pulled and extended where a registry answers, else debootstrapped.

Either way the same Dockerfile adds systemd and SSH. The tag carries a digest of everything that
goes in, so that an unchanged recipe is never built twice.
"""

import contextlib
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from scripts.lab.docker import (
    ROOT,
    STATE,
    LabError,
    as_root,
    docker,
    docker_command,
    docker_succeeds,
)
from scripts.mirrors import Mirrors, source

RECIPE = ROOT / "molecule" / "resources" / "image"
REPOSITORY = "nova-lab"
PULL_DEADLINE_SECONDS = 300


def apt_configuration(release: str, mirrors: Mirrors) -> dict[str, str]:
    """Return the files to put under /etc/apt in the image: path -> text.

    Without a Debian mirror on this machine the base image keeps its own sources.
    """
    files: dict[str, str] = {}
    if mirrors.proxy:
        files["apt.conf.d/80lab-proxy"] = f'Acquire::http::Proxy "{mirrors.proxy}";\n'
    if mirrors.archive:
        sources = [source(mirrors.archive, f"{release} {release}-updates")]
        if mirrors.security:
            sources.append(source(mirrors.security, f"{release}-security"))
        files["sources.list"] = "# See sources.list.d/debian.sources.\n"
        files["sources.list.d/debian.sources"] = "\n".join(sources)
    return files


def tag_of(release: str, mirrors: Mirrors) -> str:
    """Return the image's name: its tag is a digest of the recipe and of the apt configuration."""
    recipe = {path.name: path.read_text(encoding="utf-8") for path in RECIPE.iterdir()}
    return f"{REPOSITORY}:{release}-{_digest(recipe | apt_configuration(release, mirrors))}"


def _digest(files: dict[str, str]) -> str:
    text = "".join(f"{name}\0{content}\0" for name, content in sorted(files.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def ensure_image(release: str, mirrors: Mirrors) -> str:
    """Build the image of a Debian release unless it is there, and return its name.

    Raises:
        LabError: it could not be built; the message names the log.
    """
    tag = tag_of(release, mirrors)
    if docker_succeeds("image", "inspect", tag):
        return tag
    STATE.mkdir(parents=True, exist_ok=True)
    log = STATE / f"image-{release}.log"
    with log.open("w", encoding="utf-8") as stream:
        base = _base_image(release, mirrors, stream)
        print(f"lab: building the image {tag} (once; log: {log})", file=sys.stderr)
        with _build_context(release, mirrors) as context:
            hosts = [f"--add-host={host}" for host in mirrors.hosts()]
            command = [
                *docker_command(),
                "build",
                "--force-rm",
                "--tag",
                tag,
                *hosts,
                "--build-arg",
                f"BASE={base}",
                str(context),
            ]
            _logged(command, stream, f"the lab image of {release} was not built: see {log}")
    return tag


def _base_image(release: str, mirrors: Mirrors, log: IO[str]) -> str:
    official = f"debian:{release}"
    if docker_succeeds("image", "inspect", official) or _pull(official, log):
        return official
    script = (RECIPE / "debootstrap.sh").read_text(encoding="utf-8")
    base = f"{REPOSITORY}-base:{release}-{_digest({'': script, mirrors.archive: ''})}"
    if not docker_succeeds("image", "inspect", base):
        print(
            f"lab: no registry gave {official}: making a base image with debootstrap",
            file=sys.stderr,
        )
        _debootstrap(release, base, mirrors, log)
    return base


def _pull(name: str, log: IO[str]) -> bool:
    try:
        subprocess.run(
            [*docker_command(), "pull", "--quiet", name],
            check=True,
            stdout=log,
            stderr=log,
            timeout=PULL_DEADLINE_SECONDS,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return False
    return True


def _debootstrap(release: str, base: str, mirrors: Mirrors, log: IO[str]) -> None:
    if not mirrors.archive:
        raise LabError(
            f"cannot make a {release} image: no registry answers Docker, and this machine's apt "
            "has no Debian mirror configured"
        )
    script = [
        "unshare",
        "--mount",
        "bash",
        str(RECIPE / "debootstrap.sh"),
        release,
        mirrors.archive,
    ]
    failure = f"debootstrap of {release} failed: see {log.name}"
    with tempfile.TemporaryFile() as archive:
        _logged([*as_root(), *script], log, failure, stdout=archive)
        archive.seek(0)
        _logged([*docker_command(), "import", "-", base], log, failure, stdin=archive)


def _logged(
    command: list[str],
    log: IO[str],
    failure: str,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
) -> None:
    """Run a command with its messages in the log; LabError(failure) if it fails."""
    result = subprocess.run(
        command, stdin=stdin or subprocess.DEVNULL, stdout=stdout or log, stderr=log, check=False
    )
    if result.returncode != 0:
        raise LabError(failure)


@contextlib.contextmanager
def _build_context(release: str, mirrors: Mirrors) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        for name in ("Dockerfile", "setup.sh"):
            shutil.copy(RECIPE / name, context)
        (context / "apt").mkdir()
        for name, text in apt_configuration(release, mirrors).items():
            path = context / "apt" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        yield context


def remove_images() -> None:
    """Remove every lab image of this machine, the bases included; pulled images stay."""
    for repository in (REPOSITORY, f"{REPOSITORY}-base"):
        for image in docker(
            "images", "--format", "{{.Repository}}:{{.Tag}}", repository
        ).splitlines():
            docker("image", "rm", "--force", image)
