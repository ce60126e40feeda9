"""What is published: a wheel and an sdist (`wheel`), and what is checked before (`checklist`)."""
