"""The word lists behind the demo's generated text; chosen and typed by us, in no particular order.

Facts: capitals as commonly given in 2026; countries whose seat of government is disputed or split
are left out, so that every row has one right answer.
"""

from __future__ import annotations

from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


#: Persons that take the plain form of a verb in the present; the others take its third form.
PLAIN_PERSONS: Final = _words("I you we they")
PERSONS: Final = (*PLAIN_PERSONS, *_words("he she Ana Ben Cara Omar Mia Hugo"))

#: Irregular verbs: plain form, third person, past.
VERBS: Final = tuple(
    tuple(line.split())
    for line in """
    begin begins began
    bite bites bit
    blow blows blew
    break breaks broke
    bring brings brought
    build builds built
    buy buys bought
    catch catches caught
    choose chooses chose
    come comes came
    dig digs dug
    draw draws drew
    drink drinks drank
    drive drives drove
    eat eats ate
    fall falls fell
    feel feels felt
    fight fights fought
    find finds found
    fly flies flew
    forget forgets forgot
    give gives gave
    go goes went
    grow grows grew
    hear hears heard
    hide hides hid
    hold holds held
    keep keeps kept
    know knows knew
    leave leaves left
    lose loses lost
    make makes made
    meet meets met
    pay pays paid
    ride rides rode
    ring rings rang
    rise rises rose
    run runs ran
    say says said
    see sees saw
    sell sells sold
    send sends sent
    shake shakes shook
    shine shines shone
    sing sings sang
    sit sits sat
    sleep sleeps slept
    speak speaks spoke
    spend spends spent
    stand stands stood
    steal steals stole
    swim swims swam
    swing swings swung
    take takes took
    teach teaches taught
    tell tells told
    think thinks thought
    throw throws threw
    understand understands understood
    wake wakes woke
    wear wears wore
    win wins won
    write writes wrote
    sweep sweeps swept
    """.strip().splitlines()
)

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

#: Real words, all kept out of pre-training: the reversal skill is learned on made-up words only.
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
