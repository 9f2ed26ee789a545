// Compiled by `make messages`. Do not edit.

export const pluralIndex = (n) => Number((n != 1));
export const texts = {};
