/** A variable of the environment, which all threads share: while it has a thread's name, that one's turn does not end. */
export const HANGING = "TEST_HANGING_THREAD";
