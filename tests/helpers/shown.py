"""What a command shows on the terminal of a result that its function has written."""

from experiments.registry import STUDIES


def shown(command, folder, **options):
    """Text of a folder, of the variant of the command that the options ask for."""
    (study,) = (study for study in STUDIES if study.name == command)
    return study.chosen(options).text_of(folder)
