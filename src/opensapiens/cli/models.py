"""`opensapiens models`."""


def models() -> int:
    """List the models that can be named in --model.

    With their tasks, parameters, the floating-point operations of one input (a multiply-add counted as two), the
    input's height and width, the licence of the weights, and whether they are on this disk. What is not is downloaded,
    converted and kept when it is first used; a published file that you have already is taken from the folder that the
    last line names.
    """
    from opensapiens.checkpoints.catalogue import list_models
    from opensapiens.checkpoints.conversion_cache import cache_folder, weights_folder

    rows = [("NAME", "TASKS", "PARAMETERS", "GFLOPS", "INPUT", "LICENCE", "ON DISK")]
    for summary in list_models():
        height, width = summary.input_size
        rows.append(
            (
                summary.name,
                ",".join(summary.tasks) or "features",
                f"{summary.parameters / 1e6:.1f} M",
                f"{summary.flops / 1e9:.1f}",
                f"{height}x{width}",
                summary.licence or "?",
                "yes" if summary.on_disk else "no" if summary.source else "no; where it is published is not known",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"\nConverted models are kept in {cache_folder()}, published files are looked for in {weights_folder()}.")
    return 0
