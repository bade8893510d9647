"""`tegula init`: a new project that works as it stands."""

from __future__ import annotations

from pathlib import Path

from ..schemas.errors import SettingsError
from .output import say, write_json
from .templates import FILES


def init(folder: Path, as_json: bool) -> None:
    """Write the project's files into `folder`; files that are there already stay as they are.

    Raises `SettingsError` if the folder is a project already, or cannot be written.
    """
    if (folder / "tegula.toml").exists():
        raise SettingsError(
            "this folder is a Tegula project already",
            where=str(folder),
            hint="`tegula check` looks at what it defines",
        )
    written, kept = [], []
    for name, text in FILES.items():
        path = folder / name
        if path.exists():
            kept.append(name)
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as fault:
            raise SettingsError(
                "the project cannot be written here",
                where=str(path),
                got=fault.strerror or str(fault),
            ) from None
        written.append(name)
    if as_json:
        write_json({"project": str(folder.resolve()), "written": written, "kept": kept})
        return
    for name in written:
        say(f"wrote  {folder / name}")
    for name in kept:
        say(f"kept   {folder / name}, which was there", style="dim")
    step_in = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    say(f"\nNext:  {step_in}tegula check && tegula dev")
