"""The keys file: what it may say, what is refused and how that is told, and that no secret is ever told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastcache.errors import ConfigError, KeysFileError
from fastcache.lifecycle.keys_file import MOST_KEYS, parse_keys, read_keys_file
from fastcache.policy.access import AccessKey, Action, AllowRule, KeySet, Role

CANARY = "canary-0123456789"
ONE = f"""\
- access_key: REPORTS
  secret_key: {CANARY}
"""


class KeysFileText:
    """Writes and reads a keys file of the test."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "keys.yaml"

    def __call__(self, text: str, environ: dict[str, str] | None = None, mode: int = 0o600) -> KeySet:
        self.path.write_text(text)
        self.path.chmod(mode)
        return read_keys_file(self.path).key_set(environ or {}, 1)

    def refusal(self, text: str, environ: dict[str, str] | None = None, mode: int = 0o600) -> list[str]:
        """The lines of the error, without the directory; none of them holds the secret."""
        with pytest.raises(KeysFileError) as caught:
            self(text, environ, mode)
        chained: BaseException | None = caught.value
        while chained is not None:
            assert "canary" not in f"{chained} {chained!r} {chained.args}"
            chained = chained.__cause__
        assert isinstance(caught.value, ConfigError)
        return str(caught.value).replace(f"{self.path.parent}/", "").splitlines()


@pytest.fixture
def keys(tmp_path: Path) -> KeysFileText:
    return KeysFileText(tmp_path)


def test_a_whole_file_is_read(keys: KeysFileText) -> None:
    found = keys(
        """\
# the reports
- access_key: REPORTS
  secret_key: "secret-of-reports"
  session_token: token-of-reports
  allow:
    - actions: [read, list]
      resources: ["sales/2026/*", sales]
    - {actions: [write], resources: [sales/in/*]}
- {access_key: 12345678, secret_key: 87654321, enabled: off}
"""
    )
    reports, number = found
    assert reports == AccessKey(
        b"REPORTS",
        b"secret-of-reports",
        b"token-of-reports",
        True,
        (
            AllowRule.parse(["read", "list"], ["sales/2026/*", "sales"]),
            AllowRule.parse(["write"], ["sales/in/*"]),
        ),
    )
    assert number == AccessKey(b"12345678", b"87654321", enabled=False)
    assert found.find(b"12345678") is None


def test_secrets_come_from_files_and_variables_too(keys: KeysFileText, tmp_path: Path) -> None:
    for name in ("beside", "absolute"):
        (tmp_path / name).write_text(f"secret-{name}\n")
        (tmp_path / name).chmod(0o400)
    found = keys(
        f"""\
- {{access_key: AAA, secret_key_file: beside}}
- {{access_key: BBB, secret_key_file: {tmp_path}/absolute}}
- {{access_key: CCC, secret_key_env: REPORTS_SECRET}}
""",
        {"REPORTS_SECRET": "secret-variable"},
    )
    assert [key.secret_key for key in found] == [b"secret-beside", b"secret-absolute", b"secret-variable"]


def test_no_keys_have_to_be_said(keys: KeysFileText) -> None:
    assert len(keys("[]")) == 0
    assert len(keys("# nobody\n[]\n")) == 0
    for text in ("", "# nobody\n", "---\n", "null", "~"):
        assert keys.refusal(text) == ["keys.yaml: is empty; write [] if there are to be no keys"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666, 0o777])
def test_a_file_that_others_can_reach_is_refused(keys: KeysFileText, mode: int) -> None:
    assert keys.refusal(ONE, mode=mode) == [
        f"keys.yaml has mode {mode:04o}, so that others can get at its secrets; chmod it to 0600"
    ]


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_what_only_the_owner_can_reach_is_read(keys: KeysFileText, mode: int) -> None:
    assert len(keys(ONE, mode=mode)) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_somebody_else_is_refused(keys: KeysFileText) -> None:
    keys(ONE)
    os.chown(keys.path, 12345, 12345)
    with pytest.raises(KeysFileError, match=r"belongs to uid 12345; it must be this user's own or root's"):
        read_keys_file(keys.path)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "link").symlink_to("nowhere")
    for name, problem in (
        ("pipe", "is not a file"),
        (".", "cannot be read: Is a directory"),
        ("missing", "cannot be read: No such file or directory"),
        ("link", "cannot be read: No such file or directory"),
    ):
        with pytest.raises(KeysFileError, match=problem):
            read_keys_file(tmp_path / name)


def test_a_link_is_judged_by_what_it_points_to(keys: KeysFileText, tmp_path: Path) -> None:
    keys(ONE)
    link = tmp_path / "link"
    link.symlink_to(keys.path)
    assert len(read_keys_file(link).entries) == 1
    keys.path.chmod(0o644)
    with pytest.raises(KeysFileError, match="has mode 0644, so that others can get at its secrets"):
        read_keys_file(link)


def test_a_secret_file_is_held_to_the_same(keys: KeysFileText, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    text = "- {access_key: AAA, secret_key_file: secret}\n"
    assert keys.refusal(text) == ["keys.yaml:1: secret cannot be read: No such file or directory"]
    secret.write_text(CANARY)
    secret.chmod(0o644)
    assert keys.refusal(text) == [
        "keys.yaml:1: secret has mode 0644, so that others can get at its secrets; chmod it to 0600"
    ]
    secret.chmod(0o600)
    for content in ("", "\n", "canary", f"{CANARY}\n{CANARY}", f"{CANARY} ", f" {CANARY}", CANARY * 100):
        secret.write_text(content)
        (line,) = keys.refusal(text)
        assert line.startswith("keys.yaml:1: secret holds no secret; it must be 7 to 256 visible ASCII characters")


@pytest.mark.parametrize(
    ("name", "environ", "problem"),
    [
        ("MY_SECRET", {}, "variable MY_SECRET is not set, which secret_key_env names"),
        ("MY_SECRET", {"MY_SECRET": ""}, "variable MY_SECRET is not set, which secret_key_env names"),
        ("MY_SECRET", {"MY_SECRET": "canary 1"}, "variable MY_SECRET holds no secret; it must be 7 to 256 visible"),
        ("MY-SECRET", {}, "secret_key_env cannot be used; write the name of an environment variable"),
        ("FASTCACHE_X", {}, "secret_key_env names a variable of our settings; choose one without FASTCACHE_"),
    ],
)
def test_a_variable_without_a_secret_is_refused(
    keys: KeysFileText, name: str, environ: dict[str, str], problem: str
) -> None:
    (line,) = keys.refusal(f"\n- {{access_key: AAA, secret_key_env: {name}}}\n", environ)
    assert line.startswith(f"keys.yaml:2: {problem}")


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("access_key: AAA\n", ["1: not a list; write each key as - access_key: NAME, its other fields below it"]),
        ("- AAA\n", ["1: a key is a mapping; write its fields"]),
        ("- access_key: AAA\n", ["1: exactly one of secret_key, secret_key_file, secret_key_env is needed, not 0"]),
        (f"- secret_key: {CANARY}\n", ["1: access_key is missing"]),
        (f"{ONE}  secret_key_env: X\n", ["1: exactly one of secret_key, secret_key_file, secret_key_env is needed"]),
        (f"{ONE}  secret_key: {CANARY}2\n", ["3: secret_key stands here twice; keep one of the two"]),
        (f"{ONE}  secretkey: {CANARY}\n", ["3: field secretkey is not known; did you mean secret_key?"]),
        (f"{ONE}  allowed: []\n", ["3: field allowed is not known; did you mean allow?"]),
        (f"{ONE}  colour: red\n", ["3: field colour is not known; a key has access_key, secret_key,"]),
        (f"{ONE}  {CANARY}: x\n", ["3: this field is not known"]),
        (f"{ONE}  [a]: x\n", ["3: this field is not known"]),
        (f"{ONE}  enabled: maybe\n", ["3: enabled is neither on nor off"]),
        (f"{ONE}  enabled:\n", ["3: enabled is neither on nor off"]),
        (f"{ONE}  session_token: [{CANARY}]\n", ["3: session_token cannot be used"]),
        (f"{ONE}  session_token: canary b\n", ["3: session_token cannot be used; write visible ASCII characters"]),
        ("- {access_key: A, secret_key: canary0}\n", ["1: access_key cannot be used; write 3 to 128 letters"]),
        ("- {access_key: A/B, secret_key: canary0}\n", ["1: access_key cannot be used"]),
        ("- {access_key: 'A B', secret_key: canary0}\n", ["1: access_key cannot be used"]),
        ("- {access_key: AAA, secret_key: canary}\n", ["1: secret_key cannot be used; write 7 to 256 visible ASCII"]),
        ("- {access_key: AAA, secret_key: 'canary canary'}\n", ["1: secret_key cannot be used"]),
        ("- {access_key: AAA, secret_key: canar\u00e9-12345}\n", ["1: secret_key cannot be used"]),
        ("- {access_key: AAA, secret_key: [canary12345]}\n", ["1: secret_key cannot be used"]),
        ("- {access_key: AAA, secret_key: !canary12345 x}\n", ["1: secret_key cannot be used"]),
        (f"{ONE}\n{ONE}", ["4: access_key REPORTS is already defined at line 1"]),
        (f"{ONE}{ONE}{ONE}", ["3: access_key REPORTS is already", "5: access_key REPORTS is already"]),
        (f"{ONE}  allow: all\n", ["3: allow is a list of at most 64 rules"]),
        (f"{ONE}  allow: [all]\n", ["3: a rule is a mapping; write its fields (actions, resources) one a line"]),
        (f"{ONE}  allow: [{{}}]\n", ["3: actions and resources missing in a rule"]),
        (f"{ONE}  allow: [{{actions: [read]}}]\n", ["3: resources missing in a rule"]),
        (f"{ONE}  allow: [{{action: [read], resources: [b]}}]\n", ["3: field action is not known", "3: actions mis"]),
        (f"{ONE}  allow: [{{actions: read, resources: [b]}}]\n", ["3: actions is a list of 1 to 5 items"]),
        (f"{ONE}  allow: [{{actions: [], resources: [b]}}]\n", ["3: actions is a list of 1 to 5 items"]),
        (f"{ONE}  allow: [{{actions: [raed], resources: [b]}}]\n", ["3: action raed is not known; did you mean read?"]),
        (f"{ONE}  allow: [{{actions: [Read], resources: [b]}}]\n", ["3: this action is not known; did you mean read?"]),
        (
            f"{ONE}  allow: [{{actions: [x], resources: [b]}}]\n",
            ["3: action x is not known; write some of read, write"],
        ),
        (f"{ONE}  allow: [{{actions: [read], resources: [b/]}}]\n", ["3: 'b/' ends with the bucket's slash; write b"]),
        (f"{ONE}  allow: [{{actions: [read], resources: [[b]]}}]\n", ["3: an item of resources is one word or path"]),
    ],
)
def test_what_is_wrong_is_told_with_its_line(keys: KeysFileText, text: str, problems: list[str]) -> None:
    lines = keys.refusal(text)
    assert len(lines) == len(problems), lines
    for line, problem in zip(lines, problems, strict=True):
        assert line.startswith(f"keys.yaml:{problem}"), line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"- access_key: AAA\n  secret_key: *{CANARY}\n", 2),
        (f"- access_key: AAA\n  secret_key: !canary!{CANARY} x\n", 2),
        (f"- access_key: AAA\n  secret_key: @{CANARY}\n", 2),
        (f"- access_key: AAA\n  secret_key: '{CANARY}\n", 3),
        (f"- access_key: AAA\n secret_key: {CANARY}\n", 2),
        (f'- access_key: AAA\n  secret_key: "\\{CANARY}"\n', 2),
    ],
)
def test_a_secret_that_yaml_stumbles_over_is_not_told(keys: KeysFileText, text: str, line: int) -> None:
    (told,) = keys.refusal(text)
    assert told.startswith(f"keys.yaml:{line}: not valid YAML: check the indentation, and put values that begin")


def test_what_is_no_text_is_refused(keys: KeysFileText) -> None:
    keys.path.write_bytes(b"- access_key: \xff\x00\n")
    keys.path.chmod(0o600)
    with pytest.raises(KeysFileError, match="not valid YAML"):
        read_keys_file(keys.path)
    assert keys.refusal("- " * 2000 + "a") in (
        ["keys.yaml: not valid YAML: nested too deeply"],
        keys.refusal("[" * 2000),
    )


def test_there_are_bounds(keys: KeysFileText) -> None:
    assert keys.refusal("# " + "x" * 1024 * 1024) == [
        "keys.yaml has more than 1048576 bytes; it is not a file of credentials"
    ]
    assert keys.refusal("[" + "a," * (MOST_KEYS + 1) + "]") == [f"keys.yaml:1: more than {MOST_KEYS} keys"]
    rule = "{actions: [read], resources: [b]}"
    (line,) = keys.refusal(f"{ONE}  allow: [{', '.join([rule] * 65)}]\n")
    assert line.startswith("keys.yaml:3: allow is a list of at most 64 rules")
    (line,) = keys.refusal(f"{ONE}  allow: [{{actions: [read], resources: [{', '.join(['b'] * 257)}]}}]\n")
    assert line.startswith("keys.yaml:3: resources is a list of 1 to 256 items")
    assert all(action in keys(f"{ONE}  allow: [{rule}]\n").keys[0].rules[0].actions for action in [Action.READ])


def test_a_thousand_keys_are_read_soon(keys: KeysFileText) -> None:
    rules = "  allow:\n    - {actions: [read, list], resources: ['bucket/prefix/*', other]}\n"
    text = "".join(f"- access_key: KEY{i}\n  secret_key: secret-{i}\n{rules}" for i in range(1000))
    assert len(keys(text)) == 1000


def test_no_secret_is_in_any_repr(keys: KeysFileText) -> None:
    found = keys(f"{ONE}  session_token: {CANARY}\n")
    file = read_keys_file(keys.path)
    shown = f"{file!r} {file} {file.entries!r} {list(found)!r} {found!r} {found.find(b'REPORTS')}"
    assert "REPORTS" in shown
    assert "canary" not in shown


ROLE = "arn:aws:iam::123456789012:role/reports"


def test_a_key_may_stand_for_a_role(keys: KeysFileText, tmp_path: Path) -> None:
    found = keys(
        f"""\
- {{access_key: AAA, secret_key: {CANARY}, role_arn: "{ROLE}", web_identity_token_file: token}}
- {{access_key: BBB, secret_key: {CANARY}, role_arn: "{ROLE}", web_identity_token_file: /run/token}}
- {{access_key: CCC, secret_key: {CANARY}}}
"""
    )
    roles = [key.role for key in found]
    assert roles == [Role(ROLE, tmp_path / "token"), Role(ROLE, Path("/run/token")), None]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (f'role_arn: "{ROLE}"', "role_arn and web_identity_token_file need each other"),
        ("web_identity_token_file: token", "role_arn and web_identity_token_file need each other"),
        (
            "role_arn: canary\n  web_identity_token_file: token",
            "role_arn cannot be used; write the ARN of a role, such as arn:aws:iam::123456789012:role/reports",
        ),
        (
            f'role_arm: "{ROLE}"\n  web_identity_token_file: token',
            "field role_arm is not known; did you mean role_arn?",
        ),
    ],
)
def test_half_a_role_and_what_is_none_are_refused(keys: KeysFileText, fields: str, problem: str) -> None:
    assert f"keys.yaml:3: {problem}" in keys.refusal(f"{ONE}  {fields}\n")


def test_where_no_role_can_be_had_a_key_that_stands_for_one_is_refused(tmp_path: Path) -> None:
    text = f'{ONE}  role_arn: "{ROLE}"\n  web_identity_token_file: token\n'
    with pytest.raises(KeysFileError, match=r"keys.yaml:3: role_arn: there are none here$"):
        parse_keys(tmp_path / "keys.yaml", text.encode(), no_roles="there are none here")
