"""Pages followed as a reader follows them: files saved, Python run, commands typed."""

import re
import shlex

from experiments.cli import main

_BLOCK = re.compile(r'^```(\w*)(?: title="([\w.]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def blocks(text):
    """Language, name of the file and content of every fenced block."""
    return _BLOCK.findall(text)


def commands(block):
    """The commands of a block of the shell, as words."""
    lines = block.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines]


def words(output):
    """Words of what a command printed, without its numbers, which differ between machines."""
    return [word for word in output.split() if not re.search(r"\d|^(never|yes|no|nan|\.\.)$", word)]


def follow(text, folder, capsys):
    """Do what a page says, in a folder; yield what a command printed and what the page shows."""
    names, printed = {}, ""
    for language, title, content in blocks(text):
        if title:
            (folder / title).write_text(content, encoding="utf-8")
        elif language == "python":
            exec(compile(content, "page", "exec"), names)
        elif language == "sh":
            capsys.readouterr()
            for command in commands(content):
                assert command[0] == "sslsim", f"{command} is no command of ours"
                assert main(command[1:]) == 0, capsys.readouterr().err
            printed = capsys.readouterr().out
        else:
            yield words(printed), words(content)
