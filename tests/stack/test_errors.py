from stack.errors import StackError


def test_error_ends_with_what_to_do() -> None:
    error = StackError("The disk is full.", "Free some space.")
    assert str(error) == "The disk is full.\n  -> Free some space."
    assert (error.message, error.remedy) == ("The disk is full.", "Free some space.")
