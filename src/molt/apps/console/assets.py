"""Files that pages load: found by a name that changes with their content, so caches may keep them."""

import hashlib
from pathlib import Path
from typing import Final

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse

from molt.apps.console import build

STATIC: Final = Path(__file__).parent / "static"
PREFIX: Final = "/console/static"

MEDIA: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
FOR_EVER: Final = "public, max-age=31536000, immutable"

router = APIRouter(include_in_schema=False)


class Assets:
    """The files below one folder, with one version for all: a page's modules belong together."""

    def __init__(self, folder: Path = STATIC) -> None:
        self._folder = folder
        paths = (p for p in sorted(folder.rglob("*")) if p.suffix in MEDIA)
        self._files = {p.relative_to(folder).as_posix(): p for p in paths}
        digest = hashlib.sha256()
        for name, path in self._files.items():
            digest.update(name.encode() + b"\0" + path.read_bytes())
        self.version = digest.hexdigest()[:16]
        self.missing = [n for n in build.FILES.values() if f"vendor/{n}" not in self._files]

    def url(self, name: str) -> str:
        """Where a page finds `name`."""
        return f"{PREFIX}/{self.version}/{name}"

    def find(self, name: str) -> Path | None:
        """The file called `name`; only those that were there at the start are known."""
        return self._files.get(name)


assets = Assets()


@router.get(PREFIX + "/{version}/{name:path}")
async def static(version: str, name: str) -> FileResponse:
    """One file; kept for ever by browsers when it was asked for by its present version."""
    path = assets.find(name)
    if path is None:
        raise HTTPException(404, f"no such file: {name}")
    caching = FOR_EVER if version == assets.version else "no-cache"
    return FileResponse(path, media_type=MEDIA[path.suffix], headers={"cache-control": caching})
