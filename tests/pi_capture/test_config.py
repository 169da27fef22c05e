"""Settings from a file and the environment, as ``python -m pi_capture`` takes them."""

from __future__ import annotations

import argparse
import os
import tomllib
from pathlib import Path

import pytest

from pi_capture.arguments import OPTIONS, ORDERS, build_parser
from pi_capture.cli import COMMANDS, main
from pi_capture.config import Configuration, Kind, Option, configure
from pi_capture.sources.demo import source as demo_source
from storage import open_recording

CORNER = """\
# the camera in the corner
directory = "day1"
seconds = 0.5
camera = \"""\\
    demo:3\"""

size = "64x48"
"fps" = 20 # a second
jitter = false
"""


@pytest.fixture
def corner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with ``corner.toml``, which is the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corner.toml").write_text(CORNER)
    return tmp_path


def settings(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, tuple[str, str]]:
    """What ``--print-config`` shows: name → value as TOML, origin."""
    assert main([*arguments, "--print-config"]) == 0
    shown = {}
    for line in capsys.readouterr().out.splitlines():
        setting, _, origin = line.rpartition("# ")
        name, _, value = setting.strip("# ").partition(" = ")
        shown[name] = value, origin
    return shown


def test_a_recording_from_a_file_alone(corner: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_source, "BUFFERED_SECONDS", 60)  # on a busy machine too it keeps all frames
    assert main(["--config", "corner.toml"]) == 0
    frames = list(open_recording(corner / "day1"))
    assert len(frames) == 10 and frames[0].pixels.shape == (48, 64, 3)


def test_the_nearest_wins_and_everything_tells_where_it_came_from(
    corner: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PI_CAPTURE_FPS", "25")
    monkeypatch.setenv("PI_CAPTURE_SIZE", "source")
    monkeypatch.setenv("PI_CAPTURE_JITTER", "yes")
    monkeypatch.setenv("PI_CAPTURE_BACKEND", "")  # as good as not set
    shown = settings(capsys, "day2", "--size", "32x32", "--no-jitter", "--config", "corner.toml")
    assert shown["directory"] == ('"day2"', "flag")
    assert shown["seconds"] == ("0.5", "corner.toml:3")
    assert shown["camera"] == ('"demo:3"', "corner.toml:4")
    assert shown["size"] == ('"32x32"', "flag")
    assert shown["fps"] == ("25", "environment PI_CAPTURE_FPS")
    assert shown["jitter"] == ("false", "flag")
    assert shown["sync-interval"] == ("1.0", "default")
    assert shown["backend"] == ("", "default")


@pytest.mark.parametrize("alone", ["3", "2min", "-1"])
def test_a_time_alone_is_no_directory(corner: Path, alone: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "corner.toml", alone]) == 2
    told = f"{alone} is taken for the DIRECTORY; give one before it, or ./{alone} for one of that name"
    assert told in capsys.readouterr().err and os.listdir(corner) == ["corner.toml"]


def test_the_environment_may_name_the_file(
    corner: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PI_CAPTURE_CONFIG", "corner.toml")
    assert settings(capsys)["fps"] == ("20", "corner.toml:8")


def test_what_is_printed_is_a_file_that_says_the_same(corner: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--config", "corner.toml", "--crf", "3", "--quiet", "--print-config", "day 2", "-1"])
    printed = capsys.readouterr().out
    assert tomllib.loads(printed)["seconds"] == -1 and tomllib.loads(printed)["crf"] == 3
    (corner / "printed.toml").write_text(printed)
    main(["--config", "printed.toml", "--print-config"])
    again = capsys.readouterr().out
    assert tomllib.loads(again) == tomllib.loads(printed)


@pytest.mark.parametrize(
    ("camera", "warned"), [("rtsp://me:sesame@camera/1", True), ("rtsp://camera/1", False), ("demo", False)]
)
def test_a_password_is_printed_with_a_warning(camera: str, warned: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """It is printed, as the settings would not be the same without it."""
    assert main(["--camera", camera, "--print-config", "day1", "-1"]) == 0
    printed = capsys.readouterr()
    assert tomllib.loads(printed.out)["camera"] == camera
    assert ("chmod 600" in printed.err) == warned and "sesame" not in printed.err


def read(*words: str) -> Configuration:
    return configure(build_parser(), OPTIONS, words, {})


def test_every_option_can_be_set_in_a_file() -> None:
    """Also those that come later: there is no other list of them."""
    told = build_parser().format_help()
    options = {word.strip(",") for word in told.split() if word.startswith("--")}
    options = {name[2:] for name in options if not name.startswith("--no-")} & {option.name for option in OPTIONS}
    assert options == {option.name for option in OPTIONS if option.kind is not Kind.POSITIONAL}
    assert not options & set(ORDERS)


EXAMPLES = {
    "directory": '2026.03 "é\\\x7f',
    "seconds": "-1",
    "size": "source",
    "live-labels": "none,door",
    "labels-from": "studio",
    "metrics": "9100",
    "between": "08:00-18:00",
    "keep": "20GB",
}
"""Of options that don't take just any text or number."""
SECOND = {"keep": "min-free=2GB"}


@pytest.mark.parametrize("option", [row for row in OPTIONS if row.name != "config"], ids=lambda row: row.name)
@pytest.mark.parametrize("alone", [True, False])
def test_what_is_printed_of_each_option_is_read_again(
    corner: Path, capsys: pytest.CaptureFixture[str], option: Option, alone: bool
) -> None:
    flag, example = f"--{option.name}", EXAMPLES.get(option.name, "3")
    if option.kind is Kind.POSITIONAL:
        words = [example, "2"] if option.name == "directory" else ["day1", example]
    elif option.kind is Kind.YES_OR_NO:
        words = [flag if alone else f"--no-{option.name}"]
    elif option.kind is Kind.LIST:
        words = [flag, example] if alone else [flag, example, flag, SECOND.get(option.name, "a 'b' c")]
    elif option.is_switch or (option.kind is Kind.MAYBE_VALUE and alone):
        words = [flag]
    else:
        words = [flag, example]
    assert main([*words, "--print-config"]) == 0
    (corner / "printed.toml").write_text(capsys.readouterr().out)
    before, now = (read(*how).arguments for how in (words, ("--config", "printed.toml")))
    before.config = now.config = None
    assert before == now
    assert now != read().arguments or example == str(option.default)


def test_a_recording_from_what_is_printed(corner: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["day3", "0.2", "--camera", "demo", "--print-config"])
    (corner / "printed.toml").write_text(capsys.readouterr().out)
    assert main(["--config", "printed.toml"]) == 0
    assert os.path.isdir(corner / "day3")


def test_times_have_the_units_of_segments(corner: Path) -> None:
    (corner / "corner.toml").write_text('seconds = "1.5h"\nsync-interval = "2min"\npre-roll = 4\n')
    args = read("--config", "corner.toml", "--post-roll", "1min", "--countdown", "0min", "--hold", "0.5").arguments
    assert (args.seconds, args.sync_interval, args.pre_roll, args.post_roll) == (5400, 120, 4, 60)
    assert (args.countdown, args.hold) == (0, 0.5)
    assert read("day1", "-1").arguments.seconds == -1 and read("day1", "10 min").arguments.seconds == 600


def test_the_focus_is_a_word_or_a_number(
    corner: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (corner / "corner.toml").write_text("focus = 0.4\nhdr = true\n")
    args = read("--config", "corner.toml").arguments
    assert (args.focus, args.hdr) == (0.4, True)
    assert read("--config", "corner.toml", "--focus", "once").arguments.focus == "once"
    monkeypatch.setenv("PI_CAPTURE_FOCUS", "2")
    assert settings(capsys)["focus"] == ("2", "environment PI_CAPTURE_FOCUS")
    assert settings(capsys, "--focus", "once")["focus"] == ('"once"', "flag")


WRONG = [
    ('siz = "64x48"', "corner.toml:1: there is no option 'siz'; did you mean 'size'?"),
    ("# one\n\nsync_interval = 1", "corner.toml:3: there is no option 'sync_interval'; did you mean 'sync-interval'?"),
    ('camera = """\n\nfps = 3\n"""\nspeed = 1', "corner.toml:5: there is no option 'speed'"),
    ("quiet = true\n[camera]\nsize = 1", "corner.toml:2: camera takes a text in quotes"),
    ("size = 64", "corner.toml:1: size takes a text in quotes, not 64"),
    ('\nfps = "30"', 'corner.toml:2: fps takes a number, not "30"'),
    ("seconds = true", 'corner.toml:1: seconds takes a number, or a text such as "10min", not true'),
    ("focus = true", 'corner.toml:1: focus takes a number, or a text such as "once", not true'),
    ("focus = 0", "corner.toml:1: focus: '0': give auto, once, or the distance in metres, such as 0.5"),
    ("focus = inf", "corner.toml:1: focus: 'inf': give auto, once, or the distance in metres, such as 0.5"),
    ("quiet = 1", "corner.toml:1: quiet takes true or false, not 1"),
    ("jitter-seed = 1.5", "corner.toml:1: jitter-seed: '1.5' is not a whole number"),
    ("fps = -1", "corner.toml:1: fps: '-1' must be more than 0"),
    ('hold = "ten"', "corner.toml:1: hold: 'ten': give seconds, or a time such as 10min or 1h"),
    ('sync-interval = "0"', "corner.toml:1: sync-interval: '0' must be more than 0"),
    ('sync-interval = "0s"', "corner.toml:1: sync-interval: '0s' must be more than 0"),
    ("fps = nan", "corner.toml:1: fps: 'nan' is not a number"),
    ('camera = ["demo"]', 'corner.toml:1: camera takes a text in quotes, not ["demo"]'),
    ("backend = 1979-05-27", 'corner.toml:1: backend takes a text in quotes, not "1979-05-27"'),
    ("config = 'other.toml'", "corner.toml:1: there is no option 'config'"),
    ("list-cameras = true", "corner.toml:1: there is no option 'list-cameras'"),
    ("size = ", "corner.toml: this is not TOML: Invalid value (at line 1, column 8)"),
    ("size = '1x1'\nsize = '2x2'", "corner.toml: this is not TOML: Cannot overwrite a value (at line 2"),
    (f"seconds = {'7' * 6000}", "corner.toml: this is not TOML: Exceeds the limit"),
    (f"size = {'[' * 4000}", "corner.toml: this is not TOML: maximum recursion"),
]


@pytest.mark.parametrize(("text", "told"), WRONG, ids=[text[:40] for text, _ in WRONG])
def test_a_wrong_file_is_refused_by_name_and_line(
    corner: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    (corner / "corner.toml").write_text(text + "\n")
    assert main(["day1", "1", "--camera", "demo", "--config", "corner.toml"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert not (corner / "day1").exists()


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("PI_CAPTURE_SIZ=64x48", "PI_CAPTURE_SIZ is set, but there is no such option; did you mean 'size'?"),
        ("PI_CAPTURE_FPS=fast", "environment PI_CAPTURE_FPS: fps: 'fast' is not a number"),
        ("PI_CAPTURE_QUIET=maybe", "environment PI_CAPTURE_QUIET: quiet takes 1 or 0, not 'maybe'"),
        ("PI_CAPTURE_KEEP=8GBB", "environment PI_CAPTURE_KEEP: keep: 8GBB: give a size, an age, the room to leave"),
        (
            'PI_CAPTURE_KEEP=["7d", "uploaded"]',
            "environment PI_CAPTURE_KEEP: keep takes values with spaces between them",
        ),
        ("PI_CAPTURE_KEEP='7d", "environment PI_CAPTURE_KEEP: keep takes values with spaces between them"),
        ("PI_CAPTURE_CONFIG=no-such.toml", "no-such.toml: No such file or directory"),
        ("PI_CAPTURE_CONFIG=.", "Is a directory"),
    ],
)
def test_a_wrong_variable_is_refused_by_name(
    corner: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    told: str,
) -> None:
    monkeypatch.setenv(*variable.split("="))
    for more in ([], ["--print-config"]):
        assert main(["day1", "1", "--camera", "demo", *more]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert told in line
    assert not (corner / "day1").exists()


def test_a_flag_whose_value_is_none_is_given_too(corner: Path) -> None:
    assert read("--size", "source", "--config", "corner.toml").arguments.size is None


def test_options_of_other_kinds(tmp_path: Path) -> None:
    """Also of kinds that the recorder has none of yet, such as a list of numbers."""
    options = (
        Option("config", ""),
        Option("tag", "", "T", Kind.LIST),
        Option("area", "", "N", Kind.LIST, type=int, number=True),
        Option("retry", "", "N", Kind.MAYBE_VALUE, type=int, number=True, bare=-1),
        Option("sound", "", kind=Kind.YES_OR_NO),
        Option("into", "", "DIR", type=Path, default="here", dest="target"),
    )

    def found(words: list[str], environment: dict[str, str]) -> argparse.Namespace:
        parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
        for option in options:
            option.add(parser.add_argument)
        return configure(parser, options, words, environment).arguments

    file = tmp_path / "f.toml"
    file.write_text('tag = ["a", "b c"]\narea = [1, 2, 3, 4]\nsound = false\ninto = "there"\n')
    for text, retry in (("true", -1), ("false", None), ("3", 3)):
        (tmp_path / "retry.toml").write_text(f"retry = {text}\n")
        assert found(["--config", str(tmp_path / "retry.toml")], {}).retry == retry
        assert found([], {"PI_CAPTURE_RETRY": text}).retry == retry
    assert found(["--retry"], {"PI_CAPTURE_RETRY": "3"}).retry == -1
    args = found(["--config", str(file)], {"PI_CAPTURE_SOUND": "yes"})
    assert args.tag == ["a", "b c"] and args.area == [1, 2, 3, 4]
    assert args.sound is True and args.target == Path("there")
    args = found(["--config", str(file), "--tag", "c"], {})
    assert args.tag == ["c"]  # a flag goes before the file, and is not added to it
    args = found([], {"PI_CAPTURE_TAG": "a 'b c'"})
    assert args.tag == ["a", "b c"] and args.sound is None and args.target == Path("here")


def test_the_table_of_commands() -> None:
    import importlib

    for row in COMMANDS.values():
        module, _, function = row.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_a_file_as_windows_editors_save_it(corner: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (corner / "corner.toml").write_bytes(b"\xef\xbb\xbfdirectory = 'day1'\r\nseconds = 1\r\n")
    assert settings(capsys, "--config", "corner.toml")["directory"] == ('"day1"', "corner.toml:1")


@pytest.mark.parametrize(
    ("option", "value", "other"), [("--pre-roll", "3", "--on-motion"), ("--audio-codec", "opus", "--audio")]
)
def test_an_option_that_would_do_nothing_is_told(
    corner: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, other: str
) -> None:
    assert main(["day1", "1", "--camera", "demo", option, value]) == 2
    assert f"{option} (flag) does nothing without {other}" in capsys.readouterr().err
    assert not (corner / "day1").exists()
