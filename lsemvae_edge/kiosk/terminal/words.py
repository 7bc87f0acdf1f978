"""What the terminal says of its own; everything else comes from the station in the language that is chosen."""

from lsemvae_edge.language import mark

READY = mark("Ready for the next person")
SCAN_OR_START = mark("Scan a study id, or press Enter to type one.")
START = mark("Next person")
RESEARCH = mark("Research use, not a diagnosis.")

WHO = mark("Who is working here?")
NO_OPERATOR = mark("No operator is set up yet.")
NO_OPERATOR_STEP = mark("Run `lsemvae-edge kiosk operators add` on this machine.")
PIN_OF = mark("PIN of {operator}")
LOCKED = mark("Locked")
LOCKED_STEP = mark("Type your PIN and press Enter. A recording goes on meanwhile.")
UNLOCK = mark("Unlock")
ANOTHER_OPERATOR = mark("Another operator")
LOCK = mark("Lock")
SIGN_OUT = mark("Sign out")
OPERATOR = mark("Operator")
LANGUAGE = mark("Language")
CONSOLE_LANGUAGES = mark("This screen cannot show the letters of the other languages.")

CORRECT = mark("Correct a study id")
WHICH_VISIT = mark("Which visit has a wrong study id?")
NOBODY = mark("Nobody was recorded today.")
ATTEMPTS = mark("Attempts: {n}")
INSTEAD_OF = mark("Instead of {id}")
RIGHT_ID = mark("The right study id instead of {id}")
IS_MEANT = mark("Is the right one meant?")
FIRST_STAYS = mark("The first study id stays in the record, and your code with the change.")
YES_CORRECT, NO_AGAIN = mark("Yes, correct it"), mark("No, type it again")

STUDY_ID = mark("Study id")
TYPE_ID = mark("Type or scan the study id, then press Enter.")
CHECK_CHARACTER = mark("The last character is its check character.")
USED_TODAY = mark("This id was used today")
SAME_OR_OTHER = mark("Is it the same person again, or another person?")
REPEAT = mark("The same person again")
OTHER = mark("Another person: type the id again")

CONSENT = mark("Does the person agree to be recorded?")
YES_AGREES = mark("Yes, the person agrees")
NO_LEAVE = mark("No: do not record")
NOT_AGREED = mark("Without the person's agreement nothing is recorded.")
AGE = mark("How old is the person?")
AGE_BANDS = {
    "under 18": mark("Under 18"),
    "18-39": mark("18 to 39"),
    "40-64": mark("40 to 64"),
    "65 and over": mark("65 and over"),
}
PACEMAKER = mark("Does the person have a pacemaker?")
PACEMAKERS = {"no": mark("No"), "yes": mark("Yes"), "unknown": mark("The person does not know")}

RECORDER = mark("Which recorder?")
LOOKING = mark("Looking for recorders …")
NO_RECORDER = mark("No recorder is enrolled on this kiosk.")
NO_RECORDER_STEP = mark("Enrol one: `lsemvae-edge devices enrol ADDRESS`.")
IN_RANGE = mark("in range")
OUT_OF_RANGE = mark("not in range")
SIMULATED = mark("simulated")
LOOK_AGAIN = mark("Look again")

HOLD = mark("How to hold the recorder")
HOLD_LINES = (
    mark("Sit, feet on the floor, arms resting."),
    mark("Right hand on R, left hand on L, the third electrode on bare skin of the left knee."),
    mark("Breathe calmly, do not speak, keep still."),
)
AS_SEEN = mark("Drawn as the person sees it.")
RIGHT_HAND, LEFT_HAND, LEFT_LEG = mark("Right hand"), mark("Left hand"), mark("Left leg")
BEGIN = mark("Record")

RECORDING = mark("Recording")
NO_SIGNAL = mark("No signal")
CONTACT = {"ok": mark("contact"), "off": mark("NO CONTACT"), "unknown": mark("not known")}
CLEAN = mark("Clean signal: {clean} of {needed} s")
BATTERY = mark("Battery {percent} %")
GO_ON = mark("Go on recording")
STOP = mark("Stop now")
LEAVE = mark("Leave this person")
SAME_PERSON = mark("Is it still the same person?")
CONTACT_WAS_LOST = mark("Contact was lost for long.")
YES_SAME = mark("Yes, the same person")
NO_SAME = mark("No, another person")

WORKING = mark("Please wait")
WORKING_STEP = mark("The recording is judged and saved.")
NOT_RECORDED = mark("The recording did not succeed")
ATTEMPT = mark("Attempt {n} of {of}")
TIME_UNKNOWN = mark("clock not set")
CLEARS = mark("This result leaves the screen in {seconds} s.")
HEART_RATE = mark("Heart rate: {rate} beats/min")
PRINT, PRINT_AGAIN = mark("Print"), mark("Print again")
RECORD_AGAIN = mark("Record again")
CHECKED_AGAIN = mark("The electrodes are right: record again")
NEXT = mark("Next person")

STOPPED = mark("The kiosk has stopped")
STOPPED_STEP = mark("Nothing that was on the screen counts any more. Wait, or start the machine again.")
RECORDING_GOES_ON = mark("End the recording first.")
SCAN_NOT_HERE = mark("A scan is not expected here; nothing was done.")
TOO_EARLY = mark("The kiosk was not ready for this."), mark("Scan or type it again.")
NO_SCAN_FOR_PIN = mark("A code cannot be scanned here."), mark("Type your PIN, digit by digit.")
KEY_CHOOSE, KEY_ENTER, KEY_BACK = mark("choose"), mark("Enter: go on"), mark("Esc: back")
TOO_SMALL = mark("Make the window larger: at least 80 by 24 characters.")
