"""Packaging. Ranges stand here; `requirements.txt` is the lock that `make` installs."""

import pathlib

import setuptools

setuptools.setup(
  name='acme-dsdpg',
  version='0.6.0',
  description=(
    'Distributional Sobolev Deterministic Policy Gradient: a DeepMind Acme '
    'agent in TensorFlow/Keras.'
  ),
  long_description=pathlib.Path(__file__).with_name('README.md').read_text('utf-8'),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  packages=setuptools.find_packages(include=['acme_dsdpg', 'acme_dsdpg.*']),
  # A link to the top-level folder.
  package_data={'acme_dsdpg': ['configs/*.json', 'configs/sweeps/*.json']},
  python_requires='>=3.10,<3.12',  # Reverb has no wheel past 3.11.
  install_requires=[
    'absl-py>=1.0',
    # Acme pins a Launchpad that has no wheel past 3.10: see README for 3.11.
    'dm-acme==0.4.0; python_version < "3.11"',
    'dm-control>=1.0.50',
    'dm-env>=1.6',
    'dm-launchpad==0.5.0; python_version < "3.11"',
    'dm-reverb==0.14.0',
    'dm-sonnet>=2.0.2,<2.1',
    'dm-tree>=0.1.8',
    # Of mujoco; later ones need Python 3.11.
    'etils>=1.0,<1.14; python_version < "3.11"',
    'gym>=0.25,<0.27',  # Imported by acme.wrappers.
    'imageio>=2.20',
    'imageio-ffmpeg>=0.4.8',
    'jax>=0.4.13,<0.4.31',  # Imported by acme.adders.
    'jaxlib>=0.4.13,<0.4.31',
    'matplotlib>=3.8',
    'mujoco>=3.1,<4',  # dm_control does not follow 4 yet.
    'numpy>=1.23.5,<2',
    'pandas<3',  # Of rliable's arch.
    'psutil>=5.9',
    'rliable>=1.0',
    'protobuf>=4.21,<5',
    'tensorflow>=2.15,<2.16',
    'tensorflow-probability>=0.23,<0.24',
    'tqdm>=4.60',
    'setuptools<81',  # Of tensorboard, which imports pkg_resources.
    'trfl>=1.2',
  ],
  extras_require={
    'gpu': ['tensorflow[and-cuda]>=2.15,<2.16'],
    'test': ['gymnasium>=1', 'pytest>=7', 'pytest-xdist>=3', 'ruff>=0.4', 'scipy>=1.9'],
  },
)
