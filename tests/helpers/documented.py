"""Whether pages show every command."""

import re


def undocumented(studies, texts):
    """Names of commands that no text shows as they are typed, in code."""
    code = "\n".join(
        line
        for text in texts
        for line in re.findall(r"^(?:    |sslsim ).*$|`[^`\n]+`", text, re.MULTILINE)
    )
    return [
        study.name
        for study in studies
        if not re.search(rf"\bsslsim {re.escape(study.name)}(?![\w-])", code)
    ]
