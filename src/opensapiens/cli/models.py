"""`opensapiens models`."""


def models() -> int:
    """List the models that can be named in --model.

    For each: its tasks, parameters, floating-point operations per input (a multiply-add counts as two), input height
    and width, the license of its weights, and whether they are on this disk. Weights that are not are downloaded,
    converted and cached on first use. Published files that you already have are read from the folder that the last line
    names.
    """
    from opensapiens.checkpoints.catalog import list_models
    from opensapiens.checkpoints.conversion_cache import cache_folder, weights_folder
    from opensapiens.checkpoints.published_table import TERMS

    rows = [("NAME", "TASKS", "PARAMETERS", "GFLOPS", "INPUT", "LICENSE", "ON DISK")]
    for summary in list_models():
        height, width = summary.input_size
        rows.append(
            (
                summary.name,
                ",".join(summary.tasks) or "features",
                f"{summary.parameters / 1e6:.1f} M",
                f"{summary.flops / 1e9:.1f}",
                f"{height}x{width}",
                summary.license or "?",
                "yes" if summary.on_disk else "no" if summary.source else "no; its location is unknown",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    listed = {row[5] for row in rows}
    for license_name, terms in TERMS.items():
        if license_name in listed:
            print(f"\n{license_name}: {terms}.")
    print(f"\nConverted models are cached in {cache_folder()}; published files are read from {weights_folder()}.")
    return 0
