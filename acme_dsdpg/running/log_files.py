"""Reading a run's CSV logs back, whatever a crash or a full disk has left in them.

`loggers` writes them. TensorFlow is not imported here.
"""

import csv
import glob
import os
from typing import Dict, List, Mapping, Optional, Sequence, Tuple


def read(path: str) -> List[Dict[str, float]]:
  """Reads the rows of a file that have a number in each column, oldest first."""
  header, rows = _read(path)
  return [dict(zip(header, map(float, row))) for row in rows]


def last_row(workdir: str, label: str) -> Dict[str, float]:
  """Reads the last whole row of a label's file; nothing before there is one."""
  try:
    rows = read(os.path.join(workdir, 'logs', f'{label}.csv'))
  except (FileNotFoundError, NotADirectoryError):
    return {}
  return rows[-1] if rows else {}


def truncate(workdir: str, counts: Optional[Mapping[str, float]]):
  """Drops the rows that came after a checkpoint, which a resumed run writes again.

  Args:
    workdir: the run directory.
    counts: the checkpoint's; None drops all rows.
  """
  for path in glob.glob(os.path.join(glob.escape(workdir), 'logs', '*.csv')):
    key = 'learner_steps' if os.path.basename(path) == 'learner.csv' else 'actor_steps'
    header, rows = _read(path)
    kept = []
    if counts is not None and key in header:
      column = header.index(key)
      kept = [row for row in rows if float(row[column]) <= counts[key]]
    with open(f'{path}.tmp', 'w', encoding='utf-8', newline='') as file:
      csv.writer(file, lineterminator='\n').writerows([header] * bool(kept) + kept)
    os.replace(f'{path}.tmp', path)


def _read(path: str) -> Tuple[Sequence[str], List[Sequence[str]]]:
  """The header and the whole rows, as they are written."""
  with open(path, encoding='utf-8', errors='replace', newline='') as file:
    rows = list(csv.reader(line.replace('\0', '') for line in file))
  header = rows[0] if rows else []
  return header, [row for row in rows[1:] if _whole(row, header)]


def _whole(row: Sequence[str], header: Sequence[str]) -> bool:
  try:
    return len([float(value) for value in row]) == len(header)
  except ValueError:
    return False
