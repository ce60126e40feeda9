"""Turns the chapters, the cells and the front end into one static site.

Reading order: errors, formats, facts, project, listing, renderings, cells, citations,
sliders, syntax, wheels, demo_wheel, bytecode, browser_python, fonts, widgets, assets, examples,
measurements, lab, later, accuracy, lora_runs, diagrams, blocks, rules, quiz,
chapters, page, __main__.

A chapter is Markdown; a live cell is a fenced block that is run here, by the code that runs it in
the reader's browser, and baked into the page with everything it printed and drew.
"""
