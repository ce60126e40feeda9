"""Pins what is installed (`lock`), builds the wheel and the sdist (`wheel`), and checks a version
before a release (`checklist`).
"""
