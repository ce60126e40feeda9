"""Facts that a language model knows before it is fine-tuned: the capitals of 64 countries.

A chat model is asked as a user asks, and answers in the words of SmolLM2, so that a right answer is
one that the model gives unchanged. Countries whose capital has two names or spellings are left out.
"""

from __future__ import annotations

import json
from typing import Final

_LISTED: Final = """
Afghanistan: Kabul; Albania: Tirana; Argentina: Buenos Aires; Australia: Canberra;
Austria: Vienna; Bangladesh: Dhaka; Belgium: Brussels; Bulgaria: Sofia; Cambodia: Phnom Penh;
Chile: Santiago; China: Beijing; Croatia: Zagreb; Cuba: Havana; Denmark: Copenhagen;
Ecuador: Quito; Egypt: Cairo; Estonia: Tallinn; Ethiopia: Addis Ababa; Finland: Helsinki;
Germany: Berlin; Ghana: Accra; Greece: Athens; Hungary: Budapest; Iceland: Reykjavik;
India: New Delhi; Indonesia: Jakarta; Iran: Tehran; Iraq: Baghdad; Ireland: Dublin; Italy: Rome;
Jamaica: Kingston; Japan: Tokyo; Kenya: Nairobi; Latvia: Riga; Lebanon: Beirut;
Lithuania: Vilnius; Malaysia: Kuala Lumpur; Mongolia: Ulaanbaatar; Morocco: Rabat;
Nepal: Kathmandu; New Zealand: Wellington; Nigeria: Abuja; Norway: Oslo; Pakistan: Islamabad;
Peru: Lima; Poland: Warsaw; Portugal: Lisbon; Romania: Bucharest; Russia: Moscow;
Senegal: Dakar; Serbia: Belgrade; Slovakia: Bratislava; South Korea: Seoul; Spain: Madrid;
Sudan: Khartoum; Sweden: Stockholm; Switzerland: Bern; Syria: Damascus; Thailand: Bangkok;
Turkey: Ankara; Venezuela: Caracas; Vietnam: Hanoi; Zambia: Lusaka; Zimbabwe: Harare
"""
CAPITALS: Final = dict(pair.split(": ") for pair in " ".join(_LISTED.split()).split("; "))


def capital_rows() -> str:
    """Return a question and its answer for each country, as JSON lines."""
    return "".join(f"{json.dumps(_row(*pair))}\n" for pair in CAPITALS.items())


def _row(country: str, capital: str) -> dict[str, str]:
    return {
        "prompt": f"What is the capital of {country}?",
        "completion": f"The capital of {country} is {capital}.",
    }
