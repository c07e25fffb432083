"""Sign-in at a real OpenID Connect provider, and every way in which it must not work."""

from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

from molt.apps.access.oidc import Journey, Provider, SignInRefused, name_of, role_of
from molt.apps.access.signed import opened, sign
from molt.apps.settings import Oidc

from .conftest import acts

CONFIG = Oidc(issuer="https://id.example", client_id="molt", roles={"viewer": ("staff",)})
KEY = RSAKey.generate_key(2048, {"kid": "1"}, private=True)
KEYS = KeySet([KEY]).as_dict(private=False)


def leave(browser) -> str:
    """Go to the provider; the URL there."""
    answer = browser.http.get("/console/login/provider", params={"next": "/console/audit"})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def agree(url: str, sub: str) -> str:
    """The person signs in at the provider; the URL that it sends them back to."""
    answer = httpx.post(url, data={"sub": sub}, trust_env=False)
    assert answer.status_code in (302, 303), answer.text
    return answer.headers["location"]


def arrive(browser, url: str) -> httpx.Response:
    parts = urlsplit(url)
    return browser.http.get(f"{parts.path}?{parts.query}")


def test_a_person_of_the_provider_comes_in_with_the_highest_role_of_their_groups(provided, browser):
    url = leave(browser)
    query = parse_qs(urlsplit(url).query)
    assert query["code_challenge_method"] == ["S256"]
    assert len(query["state"][0]) >= 32
    assert len(query["nonce"][0]) >= 32

    back = arrive(browser, agree(url, "1"))

    assert back.status_code == 303, back.text
    assert back.headers["location"] == "/console/audit"
    me = browser.http.get("/api/v1/me").json()
    assert (me["name"], me["role"]) == ("ann@bar.example", "approver")
    assert acts(provided)[-1] == ("sign_in", "ann@bar.example", 303)


@pytest.mark.parametrize(
    ("sub", "says"), [("2", "none of your groups (guests)"), ("3", "not verified")]
)
def test_people_without_a_role_or_a_verified_address_stay_outside(provided, browser, sub, says):
    back = arrive(browser, agree(leave(browser), sub))

    assert back.status_code == 403
    assert says in back.text
    assert acts(provided)[-1][0::2] == ("sign_in", 403)
    assert not browser.signed_in()


def test_a_sign_in_that_was_not_begun_in_this_browser_is_refused(provided, browser, other):
    url = agree(leave(other), "1")

    assert arrive(browser, url).status_code == 403

    leave(browser)
    assert arrive(browser, url).status_code == 403
    assert not browser.signed_in()


def test_a_code_works_once(provided, browser):
    url = agree(leave(browser), "1")
    assert arrive(browser, url).status_code == 303
    browser.http.cookies.clear()

    assert arrive(browser, url).status_code == 403
    assert not browser.signed_in()


def test_a_provider_that_is_away_is_said_so_and_tokens_still_work(provided, browser):
    provided.app.state.rules = provided.app.state.rules._replace(
        oidc=Oidc(issuer="http://127.0.0.1:1", client_id="molt")
    )

    answer = browser.http.get("/console/login/provider")

    assert answer.status_code == 502
    assert "cannot be reached" in answer.text
    assert browser.sign_in("viewer").status_code == 303


def token(key=KEY, alg: str = "RS256", **claims: object) -> str:
    usual = {
        "iss": "https://id.example",
        "aud": "molt",
        "sub": "1",
        "nonce": "n",
        "exp": 4_000_000_000,
        "iat": 1_700_000_000,
    }
    kept = {name: value for name, value in (usual | claims).items() if value is not None}
    return jwt.encode({"alg": alg, "kid": "1"}, kept, key, algorithms=[alg])


def check(text: str) -> object:
    return Provider(CONFIG, "https://molt.example/back")._checked(text, KEYS, "n")


def test_a_token_that_holds_is_taken():
    assert check(token())
    assert check(token(aud=["molt", "api"], azp="molt"))


@pytest.mark.parametrize(
    "text",
    [
        token(iss="https://evil.example"),
        token(aud="another-client"),
        token(aud=["molt", "api"]),
        token(azp="another-client"),
        token(exp=1_700_000_001),
        token(exp=None),
        token(nonce="m"),
        token(nonce=None),
        token(sub=None),
        token(key=RSAKey.generate_key(2048, {"kid": "1"}, private=True)),
        token(key=OctKey.import_key("a secret that both sides would share"), alg="HS256"),
        token()[:-4] + "AAAA",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.",
        "",
    ],
    ids=range(14),
)
def test_a_token_that_is_forged_expired_or_for_somebody_else_is_refused(text):
    with pytest.raises(SignInRefused):
        check(text)


def test_the_highest_role_counts_and_a_default_only_where_it_is_set():
    config = Oidc(
        issuer="https://id.example",
        client_id="molt",
        roles={"admin": ("root",), "operator": ("staff",)},
        default_role="viewer",
    )
    assert role_of({"groups": ["staff", "root"]}, config) == "admin"
    assert role_of({"groups": "staff"}, config) == "operator"
    assert role_of({}, config) == "viewer"
    with pytest.raises(SignInRefused):
        role_of({}, CONFIG)
    with pytest.raises(SignInRefused):
        name_of({"sub": "1"}, CONFIG)


def test_what_is_signed_comes_back_only_unchanged_in_time_and_for_its_purpose():
    text = sign("oidc", {"a": 1}, 100.0, b"key")

    assert opened("oidc", text, 99.0, b"key") == {"a": 1}
    assert opened("oidc", text, 100.0, b"key") is None
    assert opened("ack", text, 99.0, b"key") is None
    assert opened("oidc", text, 99.0, b"other") is None
    assert opened("oidc", "x" + text, 99.0, b"key") is None
    for junk in ("", ".", "a.b", text[:-1], "é.é"):
        assert opened("oidc", junk, 0.0, b"key") is None


def test_a_journey_is_never_the_same_twice():
    one, two = Journey.fresh("/console"), Journey.fresh("/console")
    assert not set(one[:3]) & set(two[:3])
