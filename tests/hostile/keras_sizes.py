"""Keras files that declare more than any model has, in few bytes."""

from tests.hostile.keras_files import (
    KERNEL,
    NONE,
    TOTAL,
    build,
    config,
    edited,
    first_kernel,
    growing,
    layer,
    legacy,
    list_forty_times,
    members,
    replace,
    saved,
    weights,
)

ARRAYS = r"\d+ bytes of arrays, more than 268435456"
PARAMETERS = r"\d+ parameters, more than 33554432"
TENSOR = r"\d+ numbers in a tensor, more than 4194304"

SIZES = (
    weights(
        "weights of four terabytes",
        NONE.format(ARRAYS),
        replace(
            KERNEL, lambda f, path: f.create_dataset(path, (2**20, 2**20), "f4", chunks=(64, 64))
        ),
    ),
    weights(
        "weights of another shape",
        NONE.format(TOTAL),
        replace(KERNEL, lambda f, path: f.create_dataset(path, (3, 3, 3, 5), "f4")),
    ),
    layer("more units than there are numbers", ".+", "keras.layers", "Dense", units=2**62),
    layer(
        "units beyond a float",
        r"30+\.\.\.0+ parameters, more than 33554432",
        "keras.layers",
        "Dense",
        units=10**400,
    ),
    weights(
        "compressed weights of half a gigabyte",
        NONE.format(ARRAYS),
        replace(
            KERNEL,
            lambda f, path: f.create_dataset(path, (2**15, 2**12), "f4", compression=9),
        ),
    ),
    weights(
        "more numbers than a number counts",
        NONE.format(ARRAYS),
        replace(
            KERNEL, lambda f, path: f.create_dataset(path, (2**33, 2**31), "f4", chunks=(64, 64))
        ),
    ),
    weights(
        "an array of two names",
        NONE.format("a second name of the same content, '/layers/conv2d/vars/0'"),
        lambda f: f.__setitem__("again", f[KERNEL]),
    ),
    weights(
        "a group within itself",
        NONE.format("a second name of the same content, '/again'"),
        lambda f: f.__setitem__("again", f["/"]),
    ),
    legacy(
        "forty readings of one array",
        "'kernel' twice in a list of '/model_weights/conv2d'",
        lambda f: list_forty_times(f[first_kernel(f)]),
    ),
    legacy(
        "a configuration of megabytes",
        "2097154 bytes of configuration, more than 2097152",
        lambda f: f.attrs.__setitem__("model_config", f"[{' ' * 2**21}]"),
    ),
    edited(
        "a configuration of megabytes in .keras",
        "2097154 bytes of configuration, more than 2097152",
        lambda p: members(p, config__json=f"[{' ' * 2**21}]"),
    ),
    layer(
        "a hundred million filters",
        PARAMETERS,
        "keras.layers",
        "Conv2D",
        filters=10**8,
        kernel_size=1,
    ),
    layer("a hundred million units", PARAMETERS, "keras.layers", "Dense", units=10**8),
    layer(
        "a huge kernel", PARAMETERS, "keras.layers", "Conv2DTranspose", filters=4, kernel_size=10**5
    ),
    layer("a huge image", TENSOR, "keras.layers", "UpSampling2D", size=10**5),
    layer("a huge frame", TENSOR, "keras.layers", "ZeroPadding2D", padding=10**5),
    config(
        "a huge input",
        TENSOR,
        lambda c: c["config"]["layers"][0]["config"].update(batch_shape=[None, 10**5, 10**5, 3]),
    ),
    saved("a huge image in a model for images of any size", NONE.format(TENSOR))._replace(
        write=lambda folder: build(growing()).save(folder / "model.keras")
    ),
    layer("no units", ".+positive integer", "keras.layers", "Dense", units=-1),
)
