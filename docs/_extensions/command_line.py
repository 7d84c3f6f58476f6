"""The directive `probav-command`: description and table of options of a command of `probav`."""

import click
from docutils import nodes
from docutils.parsers.rst import Directive

from probav_estimators.cli import probav

__all__ = ["ProbavCommand", "option_rows", "setup"]


def option_rows(command):
    """(names with their value, help) of the options of a command, in the order of `--help`."""
    context = click.Context(command, info_name=command.name)
    records = (parameter.get_help_record(context) for parameter in command.get_params(context))
    return [record for record in records if record and record[1]]  # arguments have no help


class ProbavCommand(Directive):
    """Help and options of one command, by its name."""

    required_arguments = 1

    def run(self):
        command = probav.get_command(click.Context(probav), self.arguments[0])
        if command is None:
            raise self.error(f"probav has no command {self.arguments[0]!r}")
        context = click.Context(command, info_name=f"probav {command.name}")
        usage = " ".join(command.collect_usage_pieces(context))
        call = f"{context.info_name} {usage}"
        paragraphs = command.help.replace("\b", "").split("\n\n")
        return [
            nodes.literal_block(call, call, language="none"),
            *(nodes.paragraph("", " ".join(text.split())) for text in paragraphs),
            _definitions(option_rows(command)),
        ]


def _definitions(rows):
    items = [
        nodes.definition_list_item(
            "",
            nodes.term("", "", nodes.literal("", names)),
            nodes.definition("", nodes.paragraph("", " ".join(text.split()))),
        )
        for names, text in rows
    ]
    return nodes.definition_list("", *items, classes=["options"])


def setup(app):
    app.add_directive("probav-command", ProbavCommand)
    return {"parallel_read_safe": True}
