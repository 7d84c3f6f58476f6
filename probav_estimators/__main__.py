"""`python -m probav_estimators` is `probav`."""

from .cli import main

if __name__ == "__main__":
    main()
