"""Names of files, as docs/stores.md promises them, and what lies in the folder."""

import os


def name(message, ending=""):
    """`2026-11-20_name_tag.csv` of `name.csv`."""
    path = message.target["file_path"]
    path += "" if path.endswith(ending) else ending
    stem, dot, rest = path.partition(".")
    date = message.date() + "_" if message.target.get("add_date") else ""
    tag = "" if message.tag is None else "_" + message.tag.replace("/", "_")
    return date + stem + tag + dot + rest


def numbered(path, n):
    stem, dot, rest = path.partition(".")
    return f"{stem}_{n}{dot}{rest}" if n else path


def found():
    return sorted(name for name in os.listdir("out") if not name.startswith(".enrgdaq") and name != "ballast")
