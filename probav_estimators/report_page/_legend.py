"""What each figure of a report does not prove."""

#: Of each of :data:`~probav_estimators.report.FIGURES`.
NOT_PROVED = {
    "cpsnr": "that fine detail is there: a blurred image may score well. An offset, and shifts of "
    "up to 3 HR pixels, are forgiven.",
    "score": "more than cPSNR does, which it sets against the baseline's of the same scene.",
    "cssim": "resolution. Land has little contrast, so figures crowd near 1 and small differences "
    "mean much.",
    "improvement": "anything without omission and hallucination. All three depend on the frame, so "
    "compare them within one set of scenes; a wrong gain is hidden from them.",
    "omission": "anything without improvement and hallucination. Noise of the truth is counted as "
    "detail that is missing.",
    "hallucination": "anything without improvement and omission: an image that adds nothing "
    "invents nothing.",
    "resolution_truth": "that the image is no finer: blur and noise of the truth are counted "
    "against it. Small images scatter.",
    "resolution_halves": "that the detail is true: what a network always draws, and errors that "
    "all frames share, are reproduced too.",
    "mtf": "anything about detail that the truth has not. Above 1 is sharpened beyond the truth; "
    "noise of the truth lowers it.",
    "consistency": "truth: all that the sensor blurs away may be invented at no cost. Below 1, the "
    "image follows the noise of the very frames that it was made of.",
    "consistency_left_out": "truth, as consistency. It is on the safe side: it judges images of "
    "half the frames, which are worse than that of all.",
    "shift_down": "that the image lies where the ground does: the frames may all lie wrong.",
    "shift_right": "that the image lies where the ground does: the frames may all lie wrong.",
    "coverage_68": "that deviations are of use: 0.683 is met by one and the same deviation "
    "everywhere too. See sharpness and error retention.",
    "coverage_95": "that deviations are of use: 0.954 is met by one and the same deviation "
    "everywhere too. See sharpness and error retention.",
    "sharpness": "anything without coverage: deviations that are too small are sharp.",
    "error_retention": "that deviations are of the right size: see coverage. 0 cannot be reached, "
    "for the size of a single error is chance.",
}
