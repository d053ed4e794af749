"""Renders a chart once for each set of values, and holds what comes out against the schemas of Kubernetes.

    render.py CHART <sets of values as JSON >what came of each, as JSON

Helm's own engine renders, without the program: tests/run installs both libraries.
"""

import json
import sys

sys.path.insert(0, "target/helm")

import helm_python as helm  # noqa: E402
import kubernetes_validate  # noqa: E402
import yaml  # noqa: E402

# The oldest that the chart is for, and the newest that the library knows.
VERSIONS = ("1.25", "1.37")
# Of an operator: Kubernetes itself has no schema for it.
FOREIGN = ("monitoring.coreos.com/v1",)


# Most objects are the same for most values.
KNOWN = set()


def valid(made):
    text = json.dumps(made, sort_keys=True)
    if text not in KNOWN:
        for version in VERSIONS:
            kubernetes_validate.validate(made, version, strict=True)
        KNOWN.add(text)
    return made


def objects(texts):
    made = [one for text in texts for one in yaml.safe_load_all(text) if one]
    return [one if one["apiVersion"] in FOREIGN else valid(one) for one in made]


def rendered(chart, values):
    try:
        files = chart.render(values, name="shop", namespace="gateway")
    except helm.HelmError as error:
        return {"refused": str(error)}
    notes = [text for name, text in files.items() if name.endswith("NOTES.txt")]
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    return {"objects": objects(texts), "notes": notes[0]}


def main():
    if sys.argv[1].endswith(".yaml"):
        with open(sys.argv[1]) as manifests:
            json.dump(objects([manifests.read()]), sys.stdout)
        return
    found = helm.lint(sys.argv[1])
    assert not found["errors"], found
    with helm.Chart.load(sys.argv[1]) as chart:
        json.dump([rendered(chart, values) for values in json.load(sys.stdin)], sys.stdout)


main()
