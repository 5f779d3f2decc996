"""The three ways in which things go wrong: the user's input, one sample, or our own bug.

A bug has no class here: it keeps its own exception and its traceback.
"""


class PrerequisiteError(Exception):
    """Something the user can fix: shown as one message, exit code 2, no traceback.

    Parameters
    ----------
    problem : str
        One sentence that names the argument, file or record, and the offending value.
    remedy : str
        What to do about it.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\n{self.remedy}"


class SampleError(Exception):
    """One sample cannot be processed (missing or corrupt image): recorded, never skipped silently.

    Parameters
    ----------
    sample_id : str
        The sample's id in its split.
    reason : str
        What is wrong, naming the file.
    """

    def __init__(self, sample_id: str, reason: str) -> None:
        super().__init__(sample_id, reason)
        self.sample_id = sample_id
        self.reason = reason

    def __str__(self) -> str:
        return f"sample {self.sample_id}: {self.reason}"
