"""Invented DensePose data, and an evaluator in plain loops written from the rules."""

from __future__ import annotations

import json

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from scipy.ndimage import zoom

KAPPA = {
    **dict.fromkeys((1, 2), 0.351), **dict.fromkeys((3, 4), 0.107), **dict.fromkeys((5, 6), 0.126),
    **dict.fromkeys(range(7, 11), 0.237), **dict.fromkeys(range(11, 15), 0.173),
    **dict.fromkeys(range(15, 19), 0.142), **dict.fromkeys(range(19, 23), 0.128),
    **dict.fromkeys((23, 24), 0.150),
}  # fmt: skip
SIZES = {"": (0, 1e10), "m": (32**2, 96**2), "l": (96**2, 1e10)}
THRESHOLDS = np.linspace(0.5, 0.95, 10)


# --- invented data --------------------------------------------------------------------------------


def write_mesh(folder, random):
    """A surface of 24 parts with four corners each; two corners are one vertex of the body."""
    part = np.repeat(np.arange(1, 25), 4)
    u, v = random.random((2, 96)).round(3)
    transform = np.arange(1, 97)
    transform[95], count = 1, 95
    distances = random.uniform(0.02, 0.5, size=count * (count - 1) // 2).round(3)
    folder.mkdir(parents=True)
    (folder / "uv_mesh.json").write_text(
        json.dumps(
            {
                "part": part.tolist(), "u": u.tolist(), "v": v.tolist(), "vertices": count,
                "transform": transform.tolist(), "distances_lower": distances.tolist(),
            }
        )
    )  # fmt: skip


def person(random, number, image, width, height):
    w, h = random.uniform(15, 110, size=2)
    x, y = random.uniform(0, width - w), random.uniform(0, height - h)
    found = {
        "id": number, "image_id": image, "category_id": 1, "iscrowd": int(random.random() < 0.15),
        "bbox": [x, y, w, h], "area": w * h * random.uniform(0.5, 1),
        "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
    }  # fmt: skip
    if random.random() < 0.75:
        points = int(random.integers(1, 9))
        found |= {f"dp_{axis}": random.uniform(0, 255, points).tolist() for axis in "xy"}
        found |= {f"dp_{axis}": random.random(points).round(3).tolist() for axis in "UV"}
        found["dp_I"] = random.integers(1, 4, points).tolist()
        if random.random() < 0.7:
            drawn = np.zeros((256, 256), np.uint8)
            drawn[int(random.integers(0, 90)) :] = 1
            code = coco_mask.encode(np.asfortranarray(drawn))
            found["dp_masks"] = [{**code, "counts": code["counts"].decode()}, *[[]] * 13]
    return found


def detection(random, image, people, width, height):
    """A box near a person or anywhere, with the person's points painted in."""
    near = people[int(random.integers(len(people)))] if people and random.random() < 0.85 else None
    if near is None:
        box = [*random.uniform(-5, 60, size=2), *random.uniform(0.4, 60, size=2)]
    else:
        box = (near["bbox"] + random.uniform(-3, 3, size=4) * (random.random() < 0.8)).tolist()
    box[2:] = [max(side, 0.5) for side in box[2:]]
    size = max(int(box[3]), 1), max(int(box[2]), 1)
    iuv = np.zeros((*size, 3), np.uint8)
    iuv[..., 0] = random.integers(0, 4, size) if random.random() < 0.5 else random.integers(0, 4)
    iuv[..., 1:] = random.integers(0, 256, (*size, 2))
    if near is not None and "dp_x" in near and random.random() < 0.8:
        x, y, w, h = near["bbox"]
        keys = ("dp_x", "dp_y", "dp_I", "dp_U", "dp_V")
        for px, py, part, u, v in zip(*(near[key] for key in keys), strict=True):
            column, row = int(x + px * w / 255 - box[0]), int(y + py * h / 255 - box[1])
            if 0 <= row < size[0] and 0 <= column < size[1]:
                iuv[row, column] = part, round(255 * u), round(255 * v)
    return {
        "image_id": image, "category_id": 1, "bbox": box, "score": round(random.random(), 1),
        "pixels": iuv,
    }  # fmt: skip


def write_world(root, seed, crowded=False):
    random = np.random.default_rng(seed)
    write_mesh(root / "mesh", random)
    images, people, results = [], [], []
    for image in range(1, 7):
        width, height = (int(side) for side in random.integers(130, 240, size=2))
        images.append({"id": image, "width": width, "height": height, "file_name": f"{image}.jpg"})
        own = [
            person(random, len(people) + 1 + k, image, width, height)
            for k in range(int(random.integers(0, 4)) if image > 1 else 0)
        ]
        people += own
        count = int(random.integers(0, 26 if crowded else 5))
        results += [detection(random, image, own, width, height) for _ in range(count)]
    (root / "iuv").mkdir()
    for number, result in enumerate(results):
        result["iuv"] = f"iuv/{number:03d}.png"
        cv2.imwrite(str(root / result["iuv"]), result.pop("pixels")[..., ::-1])
    content = {"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}
    (root / "annotations.json").write_text(json.dumps(content))
    (root / "results.json").write_text(json.dumps(results))
    return root


# --- a plain evaluator, from the rules ------------------------------------------------------------


class Plain:
    def __init__(self, root, kappa):
        self.mesh = json.loads((root / "mesh" / "uv_mesh.json").read_text())
        self.content = json.loads((root / "annotations.json").read_text())
        self.kappa, self.root = kappa, root
        self.results = json.loads((root / "results.json").read_text())

    def vertex(self, part, u, v):
        best, found = np.inf, -1
        for index, other in enumerate(self.mesh["part"]):
            if other == part:
                away = np.hypot(self.mesh["u"][index] - u, self.mesh["v"][index] - v)
                if away < best:
                    best, found = away, self.mesh["transform"][index] - 1
        return found

    def distance(self, i, j):
        i, j = max(i, j), min(i, j)
        return 0.0 if i == j else self.mesh["distances_lower"][i * (i - 1) // 2 + j]

    def gps(self, result, iuv, truth):
        if "dp_x" not in truth:
            return 0.0
        (x, y, w, h), (left, top, right, low) = truth["bbox"], result["bbox"]
        terms = []
        keys = ("dp_x", "dp_y", "dp_I", "dp_U", "dp_V")
        for px, py, part, u, v in zip(*(truth[key] for key in keys), strict=True):
            column, row = int(px * w / 255 + x - left), int(py * h / 255 + y - top)
            predicted = -1
            if 0 <= column < int(right) and 0 <= row < int(low):
                i, a, b = iuv[row, column]
                predicted = self.vertex(i, a / 255, b / 255) if i else -1
            if predicted < 0:
                terms.append(0.0)
            else:
                away = self.distance(self.vertex(part, u, v), predicted)
                terms.append(np.exp(-(away**2) / (2 * self.kappa[part] ** 2)))
        return float(np.mean(terms))

    def true_mask(self, truth, height, width):
        canvas = np.zeros((height, width), bool)
        w, h = truth["bbox"][2:]
        if "dp_masks" not in truth:
            codes = coco_mask.frPyObjects(truth["segmentation"], height, width)
            return coco_mask.decode(coco_mask.merge(codes)) > 0
        drawn = np.zeros((256, 256))
        for code in truth["dp_masks"]:
            if code:
                drawn = np.maximum(drawn, coco_mask.decode(code))
        drawn = zoom(drawn, (max(h, 1) / 256, max(w, 1) / 256), order=1, prefilter=False) > 0.5
        return self.placed(canvas, drawn, truth["bbox"])

    def placed(self, canvas, drawn, box):
        x, y, w, h = box
        for row in range(drawn.shape[0]):
            for column in range(drawn.shape[1]):
                r, c = int(y) + row, int(x) + column
                inside = 0 <= r < canvas.shape[0] and 0 <= c < canvas.shape[1]
                if inside and r < int(y + h) and c < int(x + w):
                    canvas[r, c] = drawn[row, column]
        return canvas

    def overlap(self, common, first, second, crowd):
        union = first if crowd else first + second - common
        return common / union if union > 0 else 0.0

    def box_overlap(self, a, b, crowd):
        sides = [min(a[i] + a[i + 2], b[i] + b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
        common = max(sides[0], 0) * max(sides[1], 0)
        return self.overlap(common, a[2] * a[3], b[2] * b[3], crowd)

    def matched(self, mode, low, high):
        """Return (score, true, ignored) of every detection and the number of people."""
        rows, count = [], 0
        for image in sorted(self.content["images"], key=lambda i: i["id"]):
            people = [a for a in self.content["annotations"] if a["image_id"] == image["id"]]
            found = [r for r in self.results if r["image_id"] == image["id"]]
            found = sorted(found, key=lambda r: -r["score"])[:20]
            skip = [
                "dp_x" not in a or not low <= a["area"] <= high for a in people
            ]  # iscrowd plays no part
            order = sorted(range(len(people)), key=lambda k: skip[k])
            people, skip = [people[k] for k in order], [skip[k] for k in order]
            count += skip.count(False)
            table = self.table(image, found, people)
            rows += self.image(mode, found, people, skip, table, low, high)
        return rows, count

    def table(self, image, found, people):
        key = (image["id"], tuple(p["id"] for p in people))
        if not hasattr(self, "cache"):
            self.cache = {}
        if key not in self.cache:
            iuvs = [cv2.imread(str(self.root / r["iuv"]))[..., ::-1] for r in found]
            size = image["height"], image["width"]
            drawn = [
                self.placed(np.zeros(size, bool), i[..., 0] > 0, r["bbox"])
                for i, r in zip(iuvs, found, strict=True)
            ]
            true = [self.true_mask(p, *size) for p in people]
            gps, mask, box = (np.zeros((len(found), len(people))) for _ in range(3))
            for d, result in enumerate(found):
                for g, one in enumerate(people):
                    common, crowd = (drawn[d] & true[g]).sum(), one["iscrowd"]
                    gps[d, g] = self.gps(result, iuvs[d], one)
                    mask[d, g] = self.overlap(common, drawn[d].sum(), true[g].sum(), crowd)
                    box[d, g] = self.box_overlap(result["bbox"], one["bbox"], crowd)
            self.cache[key] = gps, mask, box
        return self.cache[key]

    def image(self, mode, found, people, skip, table, low, high):
        gps, mask, box = table
        similarity = {"gps": gps, "gpsm": np.sqrt(gps * mask), "iou": mask}[mode]
        match = np.full((10, len(found)), -1)
        ignored = np.full((10, len(found)), all(skip))
        for t, threshold in enumerate(THRESHOLDS):
            used = set()
            for d in range(len(found)):
                best, chosen = min(threshold, 1 - 1e-10), -1
                for g, one in enumerate(people):
                    if g in used and not one["iscrowd"]:
                        continue
                    if chosen >= 0 and not skip[chosen] and skip[g]:
                        break
                    if similarity[d, g] >= best:
                        best, chosen = similarity[d, g], g
                if chosen >= 0:
                    match[t, d], ignored[t, d] = chosen, skip[chosen]
                    used.add(chosen)
        for d in range(len(found)):  # once more at the last threshold, by boxes
            if match[9, d] >= 0:
                continue
            best, chosen = 0.8, -1
            for g, one in enumerate(people):
                if (g not in used or one["iscrowd"]) and box[d, g] >= best:
                    best, chosen = box[d, g], g
            if chosen >= 0:
                ignored[:, d] = skip[chosen]
                if skip[chosen]:
                    match[9, d] = chosen
                    used.add(chosen)
        rows = []
        for d, result in enumerate(found):
            area = result["bbox"][2] * result["bbox"][3]
            outside = not low <= area <= high
            out = ignored[:, d] | ((match[:, d] < 0) & outside)
            rows.append((result["score"], match[:, d] >= 0, out))
        return rows

    def metrics(self):
        values = {}
        for mode in ("gps", "gpsm", "iou"):
            for size, (low, high) in SIZES.items():
                rows, people = self.matched(mode, low, high)
                rows.sort(key=lambda row: -row[0])
                precisions, recalls = [], []
                for t in range(10):
                    true = false = 0
                    points = []
                    for _, hit, out in rows:
                        if not out[t]:
                            true, false = true + int(hit[t]), false + int(not hit[t])
                        points.append((true / max(people, 1), true / max(true + false, 1)))
                    recalls.append(points[-1][0] if points else 0.0)
                    precisions.append(
                        np.mean(
                            [
                                max((p for r, p in points if r >= wanted), default=0.0)
                                for wanted in np.linspace(0, 1, 101)
                            ]
                        )
                    )
                if not people:
                    precisions = recalls = [-1.0] * 10
                values[f"{mode}/AP{size}"] = 100 * np.mean(precisions)
                values[f"{mode}/AR{size}"] = 100 * np.mean(recalls)
                if not size:
                    for name, t in (("50", 0), ("75", 5)):
                        values[f"{mode}/AP{name}"] = 100 * precisions[t]
                        values[f"{mode}/AR{name}"] = 100 * recalls[t]
        return values
