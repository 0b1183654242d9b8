"""``docs/configuration.md`` from the schema: ``python -m fastcache.lifecycle.reference > docs/configuration.md``."""

from __future__ import annotations

from collections.abc import Iterator

from fastcache.lifecycle import units
from fastcache.lifecycle.rules import mode_combinations
from fastcache.lifecycle.schema import GROUPS, SETTINGS, Setting
from fastcache.lifecycle.sources import ALIASES, CONFIG_VARIABLE

_INTRODUCTION = f"""\
# Configuration

<!-- Made from the schema: python -m fastcache.lifecycle.reference > docs/configuration.md -->

Every setting can be given as a flag, as an environment variable and as a key of a YAML file (`-c FILE` or
`{CONFIG_VARIABLE}`). A flag wins over a variable, a variable over the file, the file over the default. Only `endpoint`
has no default. `fastcache check` takes the same flags as `fastcache serve` and prints what would be in effect and where
each value comes from, or what is wrong with it and where.

```yaml
endpoint: https://s3.example.com
cache-dir: /var/cache/fastcache
cache-size: 500GiB
timeouts:
  connect: 2s
```

- **Sizes** are {units.SIZE_ACCEPTS}.
- **Durations** are {units.DURATION_ACCEPTS}.
- **Lists** (names, networks) are YAML lists, a flag that may be repeated, or one text with commas.
- A variable that is empty counts as not set.
- Unknown keys, flags and `FASTCACHE_` variables are errors. Left aside are what Kubernetes sets for a Service whose
  name begins with `fastcache` (`FASTCACHE_PORT=tcp://…`, `FASTCACHE_SERVICE_HOST` and the like), with one line in the
  log, and `FASTCACHE_TEST_*` and `FASTCACHE_BUILD`, which belong to the test suite and the build.
- Settings that cannot work end the start with exit status 2 and one line for each problem.
"""

_CACHE_DIR_DEFAULT = "`$CACHE_DIRECTORY`, else `/var/cache/fastcache` for root, else `~/.cache/fastcache`"

_CACHE_DIR = """\
## The cache directory

Without `cache-dir` it is `$CACHE_DIRECTORY` (systemd sets it for `CacheDirectory=`), else `/var/cache/fastcache` for
root, else `$XDG_CACHE_HOME/fastcache` or `~/.cache/fastcache`. It is made with mode 0700 if it is missing. A directory
of another user, or one that others can write to, is refused; when a volume is mounted like that, name a directory
inside it.
"""

_MODES = """\
## Modes that go together

Every combination, and what a start with it does. "ttl" says whether `ttl` is given at all; its default never hurts.

| authorization | upstream | namespace | ttl | start |
|---|---|---|---|---|
"""


def render() -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, *_settings(), _CACHE_DIR, _MODES + "".join(_mode_rows())])


def _settings() -> Iterator[str]:
    yield "## Settings\n\n" + _table(setting for setting in SETTINGS if len(setting.path) == 1)
    for key, group in GROUPS.items():
        rows = _table(setting for setting in SETTINGS if setting.path[:-1] == (key,))
        yield f"## `{key}`\n\n{group.__doc__}\n\n{rows}"


def _table(settings: Iterator[Setting]) -> str:
    head = "| key | type | default | flag | variable | meaning |\n|---|---|---|---|---|---|\n"
    return head + "".join(map(_row, settings))


def _row(setting: Setting) -> str:
    aliases = [alias for alias, name in ALIASES.items() if name == setting.name]
    short = {"endpoint": "`-e`, ", "port": "`-p`, "}.get(setting.name, "")
    cells = (
        f"`{setting.path[-1]}`",
        setting.kind.label.replace("|", "\\|"),
        _default(setting),
        f"{short}`--{setting.flag_name}`",
        ", ".join(f"`{name}`" for name in (setting.variable, *aliases)),
        setting.meaning,
    )
    return f"| {' | '.join(cells)} |\n"


def _default(setting: Setting) -> str:
    if setting.required:
        return "required"
    if setting.name == "cache-dir":
        return _CACHE_DIR_DEFAULT
    return f"`{setting.default_text}`" if setting.default_text else "empty"


def _mode_rows() -> Iterator[str]:
    for authorization, upstream, namespace, explicit_ttl, refusal in mode_combinations():
        start = "starts" if refusal is None else f"refused: {refusal}"
        ttl = "given" if explicit_ttl else "not given"
        yield f"| `{authorization}` | `{upstream}` | `{namespace}` | {ttl} | {start} |\n"


if __name__ == "__main__":
    print(render(), end="")
