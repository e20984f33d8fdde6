"""Turns the raw batches into arrays: the test set, the training pool and the class names.

Reads: data/raw/cifar-10-batches-py/
Writes: data/cifar10/{test,train}_{images,labels}.npy, data/cifar10/labels.json
Params: calibrate.batches
"""

from resnet8.core.arguments import parse_paths
from resnet8.core.batches import decode_label_names, join_batches, read_batch
from resnet8.core.files import read_bytes, write_array, write_json
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(argv, __doc__, "params raw out")
    numbers = load_params(args.params).calibrate.batches

    names = decode_label_names(read_bytes(args.raw / "batches.meta"), name="batches.meta")
    batches = ["test_batch", *(f"data_batch_{number}" for number in numbers)]
    contents = {name: read_bytes(args.raw / name) for name in batches}
    test, *train = (
        read_batch(content, name=name, n_classes=len(names)) for name, content in contents.items()
    )

    for part, batch in {"test": test, "train": join_batches(train)}.items():
        write_array(args.out / f"{part}_images.npy", batch.images)
        write_array(args.out / f"{part}_labels.npy", batch.labels)
        print(f"{part}: {len(batch.labels)} images of {len(names)} classes")
    write_json(args.out / "labels.json", {"label_names": names})


if __name__ == "__main__":
    run_stage(main)
