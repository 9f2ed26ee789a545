// Shows the page in the reader's last choice: light, dark, or as the system. Furo's own script for this is inline.
document.body.dataset.theme = localStorage.getItem("theme") || "auto";
