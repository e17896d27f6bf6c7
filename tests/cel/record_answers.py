"""Ask Kubernetes' CEL all cases of ``cases.yaml`` and write down what it says; needs go.

python tests/cel/record_answers.py [--check]
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from cel_cases import ANSWERS_FILE, all_requests
from cel_oracle import ask

TIMES = 12  # a map has no order: what depends on it differs from time to time, and is no case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="only compare with the recorded answers")
    arguments = parser.parse_args()
    requests = all_requests() | all_requests(offered=False)
    rounds = [ask(requests.values()) for _ in range(TIMES)]
    unsteady = [key for key, *answers in zip(requests, *rounds, strict=True) if any(a != answers[0] for a in answers)]
    if unsteady:
        raise SystemExit("the answer differs from time to time:\n" + "\n".join(unsteady))
    rows = zip(requests, rounds[0], strict=True)
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(answer, sort_keys=True)}" for key, answer in rows)
    text = f"{{\n{lines}\n}}\n"
    if arguments.check:
        raise SystemExit(0 if ANSWERS_FILE.read_text() == text else f"{ANSWERS_FILE} is not what Kubernetes says")
    ANSWERS_FILE.write_text(text)
    print(f"{ANSWERS_FILE}: {len(requests)} answers")


if __name__ == "__main__":
    main()
