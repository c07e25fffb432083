"""Sign-in by OpenID Connect: authorization code with PKCE, state and nonce; the token checked in full."""

import base64
import hashlib
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from molt.apps.access.rules import RANK
from molt.apps.settings import Oidc
from molt.core.errors import UpstreamError

ALGORITHMS: Final = [
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
]
"""Signatures by the provider's own key only: never `none`, nor one made with a shared secret."""

TIMEOUT_SECONDS: Final = 10.0
METADATA_SECONDS: Final = 300.0
LEEWAY_SECONDS: Final = 60
LOCAL: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class SignInRefused(Exception):
    """The provider let the person in, or not, but Molt does not; the message says why."""


class Journey(NamedTuple):
    """What must come back from the provider as it went out."""

    state: str
    nonce: str
    verifier: str
    next: str

    @classmethod
    def fresh(cls, next_page: str) -> "Journey":
        """A new one, with nothing that can be guessed."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        return cls(state, nonce, verifier, next_page)

    @property
    def challenge(self) -> str:
        """The verifier as PKCE shows it beforehand (RFC 7636, S256)."""
        hashed = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(hashed).rstrip(b"=").decode()


class Provider:
    """One identity provider, found by its issuer."""

    def __init__(self, config: Oidc, redirect_url: str) -> None:
        self._config = config
        self._redirect = redirect_url
        self._metadata: Mapping[str, Any] = {}
        self._read_at = float("-inf")

    async def authorization_url(self, journey: Journey) -> str:
        """Where to send the browser. Raises `UpstreamError`."""
        endpoint = (await self._known())["authorization_endpoint"]
        query = {
            "response_type": "code",
            "client_id": self._config.client_id,
            "redirect_uri": self._redirect,
            "scope": " ".join(self._config.scopes),
            "state": journey.state,
            "nonce": journey.nonce,
            "code_challenge": journey.challenge,
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def claims(self, journey: Journey, code: str) -> Mapping[str, Any]:
        """What the provider says of the person. Raises `SignInRefused` or `UpstreamError`."""
        metadata = await self._known()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect,
            "code_verifier": journey.verifier,
            "client_id": self._config.client_id,
        }
        try:
            async with self._http() as client:
                answer = await client.post(
                    metadata["token_endpoint"], data=form, headers=self._credentials()
                )
                if answer.is_client_error:
                    raise SignInRefused(f"the provider does not take the code: {_error(answer)}")
                token = answer.raise_for_status().json().get("id_token")
                keys = (await client.get(metadata["jwks_uri"])).raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise self._away(error) from None
        return self._checked(token, keys, journey.nonce)

    def _credentials(self) -> dict[str, str]:
        """The client's own, form-encoded before they are joined (RFC 6749, 2.3.1)."""
        secret = self._config.client_secret
        if not secret:
            return {}
        pair = f"{quote(self._config.client_id, safe='')}:{quote(secret, safe='')}"
        return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}

    def _checked(self, token: Any, keys: Any, nonce: str) -> Mapping[str, Any]:
        if not isinstance(token, str):
            raise SignInRefused("the provider sent no identity token")
        rules = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self._config.issuer},
            aud={"essential": True, "value": self._config.client_id},
            exp={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        try:
            decoded = jwt.decode(token, KeySet.import_key_set(keys), algorithms=ALGORITHMS)
            rules.validate(decoded.claims)
        except (JoseError, ValueError) as error:
            raise SignInRefused(f"the identity token does not hold: {error}") from None
        audience = decoded.claims["aud"]
        several = isinstance(audience, list) and len(audience) > 1
        party = decoded.claims.get("azp", None if several else self._config.client_id)
        if party != self._config.client_id:
            raise SignInRefused("the identity token was made for another client")
        return decoded.claims

    async def _known(self) -> Mapping[str, Any]:
        """The provider's metadata, read again every few minutes."""
        if time.monotonic() - self._read_at < METADATA_SECONDS:
            return self._metadata
        issuer = self._config.issuer.rstrip("/")
        try:
            async with self._http() as client:
                answer = await client.get(f"{issuer}/.well-known/openid-configuration")
                found = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise self._away(error) from None
        if found.get("issuer", "").rstrip("/") != issuer:
            raise UpstreamError(
                f"The identity provider at {issuer} calls itself {found.get('issuer')!r}; "
                "auth.oidc.issuer must be exactly that"
            )
        self._metadata, self._read_at = found, time.monotonic()
        return found

    def _http(self) -> httpx.AsyncClient:
        # A proxy that the environment names is no way to this machine itself.
        local = urlsplit(self._config.issuer).hostname in LOCAL
        return httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=not local)

    def _away(self, error: Exception) -> UpstreamError:
        return UpstreamError(
            f"The identity provider {self._config.issuer} cannot be reached "
            f"({type(error).__name__}); sign in with a token meanwhile"
        )


def _error(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("error", answer.status_code))[:100]
    except ValueError:
        return str(answer.status_code)


def name_of(claims: Mapping[str, Any], config: Oidc) -> str:
    """Who it is, in the log. Raises `SignInRefused` when the claim is missing or not verified."""
    name = claims.get(config.name_claim)
    if not isinstance(name, str) or not name:
        raise SignInRefused(f"the provider does not say who you are (claim {config.name_claim!r})")
    if config.name_claim == "email" and claims.get("email_verified") is False:
        raise SignInRefused("your mail address is not verified at the provider")
    return name


def role_of(claims: Mapping[str, Any], config: Oidc) -> str:
    """The highest role that the person's groups give. Raises `SignInRefused` when none does."""
    held = claims.get(config.roles_claim, [])
    groups = {held} if isinstance(held, str) else set(map(str, held or []))
    roles = [role for role, names in config.roles.items() if groups & set(names)]
    if config.default_role:
        roles.append(config.default_role)
    if not roles:
        raise SignInRefused(
            f"none of your groups ({', '.join(sorted(groups)) or 'none'}) has a role in Molt; "
            "an administrator can map one in auth.oidc.roles"
        )
    return max(roles, key=RANK.__getitem__)
