"""Packaging of multibox-rcnn. Lower bounds only; albumentations also has an upper bound: its successor is AGPL."""

from setuptools import find_packages, setup

setup(
    name="multibox-rcnn",
    version="0.1.0",
    description="Object detection with a GoogLeNet backbone, MultiBox proposals and an ensemble region classifier",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(
        include=["backbone", "proposals", "proposals.*", "detection", "detection.*", "configs", "tools", "tools.*"]
    ),
    package_data={
        "backbone": ["*.safetensors"],
        "configs": ["*.yaml", "recipes/*.yaml"],
        "detection.evaluation": ["*.j2"],
    },
    entry_points={"console_scripts": ["multibox = tools.main:main"]},
    install_requires=[
        "torch>=2.6",
        "torchvision>=0.21",
        "pycocotools>=2.0.8",
        "albumentations>=2.0.8,<3",
        "opencv-python-headless>=4.9",
        "numpy>=2",
        "accelerate>=1.0",
        "safetensors>=0.4.5",
        "pydantic>=2.7,<3",
        "PyYAML>=6",
        "typer>=0.12",
        "rich>=13",
        "tensorboard>=2.16",
        "jinja2>=3.1",
        "pillow>=10",
        "scipy>=1.11",
        "scikit-image>=0.24",
    ],
    extras_require={
        "dev": [
            "pytest",
            "pytest-xdist",
            "hypothesis",
            "playwright",
            "ruff",
            "mypy",
            "types-PyYAML",
            "onnx>=1.16",
            "onnxruntime>=1.18",
            "openvino>=2025.0",
            "nncf>=2.14",
            "ray[data]>=2.40",
        ],
        "demo": ["scikit-learn"],
        "docs": ["mkdocs-material"],
        "onnx": ["onnx>=1.16", "onnxruntime>=1.18"],
        "openvino": ["openvino>=2025.0", "onnx>=1.16"],
        "ray": ["ray[data]>=2.40"],
        "int8": ["nncf>=2.14", "openvino>=2025.0", "onnx>=1.16"],
    },
)
