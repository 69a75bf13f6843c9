"""`opensapiens models`."""


def models() -> int:
    """List the models that can be named in --model, with their tasks, size, licence and origin."""
    from opensapiens.inference.loading import list_models

    rows = [("NAME", "TASKS", "PARAMETERS", "GFLOPS", "INPUT", "LICENCE", "WEIGHTS FROM")]
    for summary in list_models():
        height, width = summary.input_size
        rows.append(
            (
                summary.name,
                ",".join(summary.tasks),
                f"{summary.parameters / 1e6:.1f} M",
                f"{summary.flops / 1e9:.1f}",
                f"{height}x{width}",
                summary.licence or "?",
                summary.source or "?",
            )
        )
    if len(rows) == 1:
        print("This installation has no embedded model; name a folder with model.safetensors and config.json instead.")
        return 0
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0
