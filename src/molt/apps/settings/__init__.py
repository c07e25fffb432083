"""molt.yaml and the environment: where to listen, what stands behind, who is asking."""

from molt.apps.settings.egress import Egress, ModelService, ToolRoute, ToolService
from molt.apps.settings.model import Settings
from molt.apps.settings.people import Auth, Oidc
from molt.apps.settings.reading import load_settings, section_of, setting_paths, variable
from molt.apps.settings.services import Tls, Upstream, UsageFields

__all__ = [
    "Auth",
    "Egress",
    "ModelService",
    "Oidc",
    "Settings",
    "Tls",
    "ToolRoute",
    "ToolService",
    "Upstream",
    "UsageFields",
    "load_settings",
    "section_of",
    "setting_paths",
    "variable",
]
