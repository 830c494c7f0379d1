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


def first_line(error: BaseException) -> str:
    """What an error of a library says first; its kind, if it says nothing."""
    return _lines(error)[0]


def last_line(error: BaseException) -> str:
    """What an error of a library says last, as of several findings; its kind, if it says nothing."""
    return _lines(error)[-1]


def _lines(error: BaseException) -> list[str]:
    lines = [line.strip() for line in str(error).strip().splitlines()]
    return lines or [type(error).__name__]
