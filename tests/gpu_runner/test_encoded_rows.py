"""What the article shows of data is what the runner's encoder makes of it, now."""

from docs import encoded_rows


def test_the_rows_on_the_page_are_the_ones_that_the_encoder_makes() -> None:
    written = encoded_rows.TARGET.read_text(encoding="utf-8")
    assert written == encoded_rows.text(), "run docs/encoded_rows.py --write"


def test_answers_and_their_ends_are_trained_and_questions_are_not() -> None:
    chat = encoded_rows.rows()["chat"]
    trained = "".join(text for text, learned in chat if learned)
    read = "".join(text for text, learned in chat if not learned)
    answers = [said for who, said in encoded_rows.CHAT if who == "assistant"]
    assert trained == "".join(f" {answer}<|end|>" for answer in answers)
    assert all(said in read for who, said in encoded_rows.CHAT if who == "user")
