"""The one place that knows PyQt5 (Krita 5) from PyQt6 (Krita 6).

Everything else imports Qt's classes from here and writes enums with their scope (``Qt.Orientation.Horizontal``), which
both bindings understand.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

__all__ = [
    "QAbstractSpinBox",
    "QApplication",
    "QCheckBox",
    "QComboBox",
    "QDoubleSpinBox",
    "QEvent",
    "QFormLayout",
    "QFrame",
    "QGridLayout",
    "QHBoxLayout",
    "QImage",
    "QKeyEvent",
    "QLabel",
    "QLineEdit",
    "QObject",
    "QPixmap",
    "QPlainTextEdit",
    "QProgressBar",
    "QPushButton",
    "QRegularExpression",
    "QRegularExpressionValidator",
    "QScrollArea",
    "QSizePolicy",
    "QSocketNotifier",
    "QSpinBox",
    "QStandardItemModel",
    "QTimer",
    "QToolButton",
    "QVBoxLayout",
    "QWidget",
    "Qt",
    "pyqtSignal",
]


def _is_qt6() -> bool:
    try:
        import pykrita
    except ImportError:  # outside Krita, in tests of the widgets: whichever binding there is, the newer first
        return find_spec("PyQt6") is not None
    # Krita 5 has no such function: it knows Qt 5 only
    major_version = getattr(pykrita, "qt_major_version", None)
    return major_version is not None and major_version() >= 6


if TYPE_CHECKING or _is_qt6():
    from PyQt6.QtCore import QEvent, QObject, QRegularExpression, QSocketNotifier, Qt, QTimer, pyqtSignal
    from PyQt6.QtGui import (
        QImage,
        QKeyEvent,
        QPixmap,
        QRegularExpressionValidator,
        QStandardItemModel,
    )
    from PyQt6.QtWidgets import (
        QAbstractSpinBox,
        QApplication,
        QCheckBox,
        QComboBox,
        QDoubleSpinBox,
        QFormLayout,
        QFrame,
        QGridLayout,
        QHBoxLayout,
        QLabel,
        QLineEdit,
        QPlainTextEdit,
        QProgressBar,
        QPushButton,
        QScrollArea,
        QSizePolicy,
        QSpinBox,
        QToolButton,
        QVBoxLayout,
        QWidget,
    )
else:
    from PyQt5.QtCore import QEvent, QObject, QRegularExpression, QSocketNotifier, Qt, QTimer, pyqtSignal
    from PyQt5.QtGui import (
        QImage,
        QKeyEvent,
        QPixmap,
        QRegularExpressionValidator,
        QStandardItemModel,
    )
    from PyQt5.QtWidgets import (
        QAbstractSpinBox,
        QApplication,
        QCheckBox,
        QComboBox,
        QDoubleSpinBox,
        QFormLayout,
        QFrame,
        QGridLayout,
        QHBoxLayout,
        QLabel,
        QLineEdit,
        QPlainTextEdit,
        QProgressBar,
        QPushButton,
        QScrollArea,
        QSizePolicy,
        QSpinBox,
        QToolButton,
        QVBoxLayout,
        QWidget,
    )
