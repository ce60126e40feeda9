"""The word lists behind the demo's generated text; chosen and typed by us, in no particular order.

Facts: capitals as commonly given in 2026; countries whose seat of government is disputed or split
are left out, so that every row has one right answer.
"""

from __future__ import annotations

from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES: Final = _words("Ana Ben Cara Dan Eva Finn Gita Hugo Ida Jon Kim Leo Mia Noor Omar Pia")

OBJECTS: Final = _words(
    "ball cup hat book key drum kite lamp coin bell rope map pen box shell flute"
)

COLOURS: Final = _words("red blue green black white yellow brown silver")

CAPITALS: Final[dict[str, str]] = {
    "France": "Paris",
    "Spain": "Madrid",
    "Portugal": "Lisbon",
    "Italy": "Rome",
    "Germany": "Berlin",
    "Austria": "Vienna",
    "Poland": "Warsaw",
    "Hungary": "Budapest",
    "Greece": "Athens",
    "Turkey": "Ankara",
    "Norway": "Oslo",
    "Sweden": "Stockholm",
    "Finland": "Helsinki",
    "Denmark": "Copenhagen",
    "Iceland": "Reykjavik",
    "Ireland": "Dublin",
    "Belgium": "Brussels",
    "Romania": "Bucharest",
    "Bulgaria": "Sofia",
    "Serbia": "Belgrade",
    "Croatia": "Zagreb",
    "Estonia": "Tallinn",
    "Latvia": "Riga",
    "Lithuania": "Vilnius",
    "Ukraine": "Kyiv",
    "Egypt": "Cairo",
    "Morocco": "Rabat",
    "Tunisia": "Tunis",
    "Kenya": "Nairobi",
    "Ghana": "Accra",
    "Senegal": "Dakar",
    "Nigeria": "Abuja",
    "Angola": "Luanda",
    "Zambia": "Lusaka",
    "Uganda": "Kampala",
    "Rwanda": "Kigali",
    "Ethiopia": "Addis Ababa",
    "Sudan": "Khartoum",
    "Iraq": "Baghdad",
    "Iran": "Tehran",
    "Jordan": "Amman",
    "Lebanon": "Beirut",
    "Qatar": "Doha",
    "Oman": "Muscat",
    "India": "New Delhi",
    "Nepal": "Kathmandu",
    "Bangladesh": "Dhaka",
    "Thailand": "Bangkok",
    "Vietnam": "Hanoi",
    "Laos": "Vientiane",
    "Japan": "Tokyo",
    "China": "Beijing",
    "Mongolia": "Ulaanbaatar",
    "Canada": "Ottawa",
    "Cuba": "Havana",
    "Jamaica": "Kingston",
    "Peru": "Lima",
    "Ecuador": "Quito",
    "Colombia": "Bogota",
    "Venezuela": "Caracas",
    "Chile": "Santiago",
    "Uruguay": "Montevideo",
    "Paraguay": "Asuncion",
    "Australia": "Canberra",
}

#: Real words, all kept out of pre-training: the reversal skill is learnt on made-up words only.
SPELLING: Final = _words(
    """planet river garden window candle bridge market winter silver basket
    pencil orange ladder mirror button castle forest island kitten lemon
    magnet needle ocean pepper rabbit saddle ticket valley wagon yellow
    anchor beetle carpet dragon engine flower guitar hammer insect jacket
    kettle lizard monkey napkin oyster parrot quiver ribbon spider temple
    violin walnut zebra bread chair cloud field grape horse knife
    light mouse night paper"""
)

#: Openings, hearts and endings of made-up words, as in `b-a-k-i-n`.
CONSONANTS: Final = "bcdfghjklmnpqrstvwxyz"
VOWELS: Final = "aeiou"
