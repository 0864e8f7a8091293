class EngineArgs:
    def __init__(self, parsed):
        self.parsed = parsed

    @staticmethod
    def add_cli_args(parser):
        for name in ("model", "load-format", "dtype", "max-model-len", "worker-cls", "tensor-parallel-size"):
            parser.add_argument(f"--{name}")
        parser.add_argument("--skip-tokenizer-init", action="store_true")
        return parser

    @classmethod
    def from_cli_args(cls, parsed):
        return cls(parsed)
