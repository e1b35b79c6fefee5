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
  # Launchpad publishes no wheel past Python 3.10, Acme needs 3.7 or later, and
  # dm_control 1.0.50 needs 3.10.
  python_requires='==3.10.*',
  install_requires=[
    'absl-py>=1.0',
    'dm-acme==0.4.0',
    'dm-control>=1.0.20',
    'dm-env>=1.6',
    'dm-launchpad==0.5.0',
    'dm-reverb==0.7.3',
    'dm-sonnet>=2.0,<2.1',
    'etils>=1.0,<1.14',  # Of mujoco; later ones need Python 3.11.
    'gym>=0.25,<0.27',  # Imported by acme.wrappers.
    'imageio>=2.20',
    'imageio-ffmpeg>=0.4.8',
    'jax>=0.4.13,<0.4.31',  # Imported by acme.adders.
    'jaxlib>=0.4.13,<0.4.31',
    'matplotlib>=3.7',
    'mujoco>=3.1',
    'numpy>=1.22,<1.24',
    'psutil>=5.9',
    'rliable>=1.0',
    'protobuf>=3.19,<3.20',
    'tensorflow>=2.8,<2.9',
    'tensorflow-addons>=0.16,<0.18',
    'tensorflow-probability>=0.16,<0.17',
    'tqdm>=4.60',
    'setuptools<81',  # Of tensorboard, which imports pkg_resources.
    'trfl>=1.2',
  ],
  extras_require={'test': ['pytest>=7', 'pytest-xdist>=3', 'ruff>=0.4', 'scipy>=1.9']},
)
