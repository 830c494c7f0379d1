"""The one kind of error that is the user's to solve."""

from collections.abc import Sequence


class UserError(Exception):
    """Something the user can put right: shown as plain messages, without a traceback.

    Each problem names the option or file, the value, and what to do about it.
    """

    def __init__(self, problems: str | Sequence[str]):
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


def format_problems(problems: Sequence[str]) -> str:
    """The report printed before giving up: one numbered line per problem."""
    if len(problems) == 1:
        return f"Error: {problems[0]}"
    lines = [f"{len(problems)} problems were found:"]
    lines += [f"  {number}. {problem}" for number, problem in enumerate(problems, 1)]
    return "\n".join(lines)
